"""The native causal convolution as a PyTorch operator: real, fake (shapes only) and backward."""

from typing import Any

import torch
from torch import Tensor

from chartscan.kernels.native import checks
from chartscan.kernels.native.checks import pointer, strided
from chartscan.kernels.native.library import library


class ConvTensors:
    """The checked inputs of a convolution, alive for as long as their pointers are used."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor, window: Tensor | None, silu: bool):
        if x.dtype not in checks.TYPES:
            raise TypeError(f"x is {x.dtype}; expected {' or '.join(map(str, checks.TYPES))}")
        batch, _, channels = x.shape
        taps = weight.shape[-1]
        self.x = checks.sequence("x", x, tuple(x.shape), x.dtype)
        self.weight = checks.plain("weight", weight, (channels, taps))
        self.bias = checks.plain("bias", bias, (channels,))
        self.window = checks.optional("window", window, (batch, taps - 1, channels))
        self.silu = silu

    def pointers(self) -> tuple[int, ...]:
        """struct ConvInputs."""
        return (
            checks.TYPES[self.x.dtype],
            *self.x.shape,
            self.weight.shape[1],
            *strided(self.x),
            *(pointer(tensor) for tensor in (self.weight, self.bias, self.window)),
            int(self.silu),
            torch.get_num_threads(),
        )


class ConvGradients:
    """Gradients of a convolution; `dx` may be given, a slice of a larger tensor to write to."""

    def __init__(self, tensors: ConvTensors, dx: Tensor | None = None):
        x = tensors.x
        self.dx = torch.empty(x.shape, dtype=x.dtype) if dx is None else dx
        self.dweight, self.dbias = torch.empty_like(tensors.weight), torch.empty_like(tensors.bias)
        self.dwindow = None if tensors.window is None else torch.empty_like(tensors.window)

    def pointers(self) -> tuple[int, ...]:
        """The results in struct ConvBackward."""
        plain = (self.dweight, self.dbias, self.dwindow)
        return (*strided(self.dx), *(pointer(tensor) for tensor in plain))


def forward(tensors: ConvTensors) -> Tensor:
    """y (B, L, E) in the type of x."""
    y = torch.empty(tensors.x.shape, dtype=tensors.x.dtype)
    library().conv_forward((*tensors.pointers(), *strided(y)))
    return y


def backward(tensors: ConvTensors, gradients: ConvGradients, dy: Tensor) -> None:
    """Fills `gradients`."""
    dy = checks.sequence("dy", dy, tuple(tensors.x.shape), tensors.x.dtype)
    library().conv_backward((*tensors.pointers(), *strided(dy), *gradients.pointers()))


@torch.library.custom_op("chartscan::causal_conv", mutates_args=(), device_types="cpu")
def causal_conv(x: Tensor, weight: Tensor, bias: Tensor, window: Tensor | None, silu: bool) -> Tensor:
    """y (B, L, E): see `chartscan.kernels.causal_conv`."""
    return forward(ConvTensors(x, weight, bias, window, silu))


@causal_conv.register_fake
def _shape(x: Tensor, weight: Tensor, bias: Tensor, window: Tensor | None, silu: bool) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("chartscan::causal_conv_backward", mutates_args=(), device_types="cpu")
def causal_conv_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, window: Tensor | None, silu: bool
) -> list[Tensor]:
    """Gradients by x, weight, bias and, where it is there, window."""
    tensors = ConvTensors(x, weight, bias, window, silu)
    g = ConvGradients(tensors)
    backward(tensors, g, dy)
    return [gradient for gradient in (g.dx, g.dweight, g.dbias, g.dwindow) if gradient is not None]


@causal_conv_backward.register_fake
def _gradient_shapes(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, window: Tensor | None, silu: bool
) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in (x, weight, bias, window) if t is not None]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.silu = inputs[4]


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    inputs = ctx.saved_tensors
    found = iter(causal_conv_backward(dy, *inputs, ctx.silu))
    return (*(None if tensor is None else next(found) for tensor in inputs), None)


causal_conv.register_autograd(_differentiate, setup_context=_remember)
