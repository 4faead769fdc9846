"""Random inputs of Mamba-2's scan, and its outputs with all gradients."""

import torch

SEQUENCES = ("x", "dt", "B", "C")


def ssd_inputs(rows=2, length=63, heads=3, channels=5, states=7, dtype=torch.float32, seed=0):
    """Every differentiable argument of `ssd`."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    tensors = {
        "x": normal(rows, length, heads, channels),
        "dt": normal(rows, length, heads),
        "A": -torch.exp(normal(heads)),
        "B": normal(rows, length, states),
        "C": normal(rows, length, states),
        "D": normal(heads),
        "dt_bias": normal(heads) - 2,
        "state": normal(rows, heads, channels, states),
    }
    return {name: t.to(dtype).requires_grad_() for name, t in tensors.items()}


def outputs_and_gradients(scan, inputs, real=None, **settings):
    """(y, last, states) and the gradient of every input by one random combination of them.

    `real` (B, L): the steps whose output counts.
    """
    y, last, states = scan(**inputs, **settings)
    outputs = (y if real is None else y * real[:, :, None, None], last, states)
    g = torch.Generator().manual_seed(1)
    total = sum((o * torch.randn(o.shape, generator=g, dtype=torch.float64).to(o)).sum() for o in outputs)
    return outputs, torch.autograd.grad(total, list(inputs.values()), materialize_grads=True)
