"""A first scan on a device, which must equal plain PyTorch's.

The device is not used for more before. The kernels were proven in Triton's interpreter; what a card and its
driver make of them shows here, once a process and device, in a second or two that compiling takes anyway.
"""

import warnings
from functools import cache

import torch
from torch import Tensor

from chartscan.kernels import chunked, reference
from chartscan.kernels.gpu.operator import gpu_scan

TOLERANCE = 1e-3  # of the largest; an error of the kernels is far larger, rounding far smaller
ROWS, STEPS, CHANNELS, STATES = (
    2,
    70,
    40,
    16,
)  # more than two stretches between kept states, more than one tile


def passes(device: torch.device) -> bool:
    """Whether outputs and gradients on `device` are right; a warning, once, where they are not."""
    return problem(str(device)) is None


@cache
@torch.inference_mode(False)  # also where the caller's first scan is for inference
@torch.enable_grad()
def problem(device: str) -> str | None:
    """What is wrong with the kernels on `device`, in words."""
    inputs = _inputs(device)
    try:
        found = _differentiated(gpu_scan(*inputs, None, None, None, True)[:2], inputs)
    except Exception as error:
        return _told(f"they do not run on {device} ({type(error).__name__})")
    x, dt, A, B, C, D, z, dt_bias, state = inputs
    right = reference.surrounded(chunked.scan, x, dt, A, B, C, D, z, dt_bias, state, lengths=None, read=None)
    expected = _differentiated(right[:2], inputs)
    worst = max(_distance(a, b) for a, b in zip(found, expected, strict=True))
    if not worst <= TOLERANCE:  # nan is not
        return _told(f"their results on {device} are off by {worst:.1e}")
    return None


def _inputs(device: str) -> tuple[Tensor, ...]:
    """x, dt, A, B, C, D, z, dt_bias, state."""
    g = torch.Generator().manual_seed(0)
    wide, narrow, state = (ROWS, STEPS, CHANNELS), (ROWS, STEPS, STATES), (ROWS, CHANNELS, STATES)
    shapes = (wide, wide, state[1:], narrow, narrow, wide[2:], wide, wide[2:], state)
    tensors = [torch.randn(shape, generator=g) for shape in shapes]
    tensors[2] = -tensors[2].exp()
    return tuple(tensor.to(device).requires_grad_() for tensor in tensors)


def _differentiated(outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    total = torch.stack([(output * output.detach().cos()).sum() for output in outputs]).sum()
    return [output.detach() for output in outputs] + list(torch.autograd.grad(total, inputs))


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def _told(problem: str) -> str:
    warnings.warn(
        f"The Triton kernels are not used: {problem}. The scan runs in plain PyTorch, more slowly. "
        "backend='triton' insists on them.",
        RuntimeWarning,
        stacklevel=2,
    )
    return problem
