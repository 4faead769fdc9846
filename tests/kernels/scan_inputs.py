"""Random inputs of a scan, its outputs with all gradients, and how far two results are apart."""

import torch

from chartscan.kernels import selective_scan

SEQUENCES = ("x", "dt", "B", "C", "z")


def scan_inputs(rows=2, length=63, channels=5, states=16, dtype=torch.float32, seed=0, without=()):
    """Every differentiable argument of `selective_scan` but those named in `without`."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    tensors = {
        "x": normal(rows, length, channels),
        "dt": normal(rows, length, channels),
        "A": -torch.exp(normal(channels, states)),
        "B": normal(rows, length, states),
        "C": normal(rows, length, states),
        "D": normal(channels),
        "z": normal(rows, length, channels),
        "dt_bias": normal(channels) - 2,
        "state": normal(rows, channels, states),
    }
    return {name: t.to(dtype).requires_grad_() for name, t in tensors.items() if name not in without}


def reads(rows, length):
    """Some states, one of them twice, the first and the last among them, in no order."""
    return torch.tensor([0, rows - 1, 0, rows - 1]), torch.tensor([length // 2, length - 1, 0, length - 1])


def part(inputs, start, end):
    """The steps from `start` to before `end`."""
    return {k: v[:, start:end] if k in SEQUENCES else v for k, v in inputs.items()}


def outputs_and_gradients(inputs, read, backend, lengths=None, used=(0, 1, 2)):
    """(y, last, states) and the gradient of every input by one random combination of those `used`."""
    outputs = selective_scan(**inputs, read=read, lengths=lengths, backend=backend)
    g = torch.Generator().manual_seed(1)
    total = sum(
        (
            outputs[i] * torch.randn(outputs[i].shape, generator=g, dtype=torch.float64).to(outputs[i].dtype)
        ).sum()
        for i in used
    )
    return outputs, torch.autograd.grad(total, list(inputs.values()), materialize_grads=True)


def largest_relative_error(found, expected, least=1e-3):
    """Largest difference as a share of the largest expected magnitude, or of `least` if that is more."""
    if not expected.numel():
        return 0.0
    return ((found.double() - expected).abs().max() / expected.abs().max().clamp(min=least)).item()
