"""The implementations that `bench scan` sets beside one another, each with inputs in the layout it works on.

Comparable ones compute the whole of `selective_scan`: softplus of dt plus bias, recurrence, skip and gate.
Those of transformers are its own functions as installed, given tensors laid out as its MambaMixer lays them
out. The others are models of another kind and the same width, for scale.
"""

import importlib.util
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from chartscan.errors import ConfigError
from chartscan.kernels import Backend, selective_scan, ssd
from chartscan_lab.bench.scan_inputs import Inputs, Shape, random_inputs

WIDTH = 256  # of the LSTM and of attention: the model whose blocks have 512 channels
HEADS = 4
HEAD_CHANNELS = 64  # of SSD


class Prepared(NamedTuple):
    """One implementation with its inputs: `forward` computes from `leaves`, of which it gives gradients."""

    forward: Callable[[], Tensor]
    leaves: tuple[Tensor, ...]
    dy: Tensor
    plain: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]] = (
        tuple  # y or gradients in the layout of Inputs
    )

    def run(self) -> Tensor:
        """The output, with nothing kept for a backward pass."""
        with torch.no_grad():
            return self.forward()

    def run_both(self) -> tuple[Tensor, ...]:
        """The output, and the gradients by all leaves."""
        y = self.forward()
        return y.detach(), *torch.autograd.grad(y, self.leaves, self.dy)

    def result(self, backward: bool) -> tuple[Tensor, ...]:
        """y, and where `backward` the gradients in the order of Inputs, in their layout."""
        if not backward:
            return self.plain((self.run(),))
        y, *gradients = self.run_both()
        return *self.plain((y,)), *self.plain(tuple(gradients))


class Peer(NamedTuple):
    """An implementation. `longest` and `longest_backward` bound the lengths that end in reasonable time."""

    name: str
    prepare: Callable[[Shape], Prepared]
    comparable: bool = True
    missing: Callable[[], str | None] = lambda: None  # why it cannot run here
    longest_backward: float = math.inf

    def obstacle(self, shape: Shape, backward: bool) -> str | None:
        """Why it is not run at this shape; None if it is."""
        if backward and shape.length > self.longest_backward:
            return f"backward is quadratic in the length: not run beyond {self.longest_backward:.0f}"
        return self.missing()


def ours(backend: Backend) -> Peer:
    def function(*inputs: Tensor) -> Tensor:
        x, dt, A, B, C, D, z, dt_bias = inputs
        return selective_scan(x, dt, A, B, C, D=D, z=z, dt_bias=dt_bias, backend=backend)[0]

    def missing() -> str | None:
        try:
            function(*random_inputs(Shape(1, 1, 1, 1))[0])
        except ConfigError as error:
            return str(error)
        return None

    return Peer(f"chartscan {backend}", channels_last(function), missing=missing)


def channels_last(function: Callable[..., Tensor]) -> Callable[[Shape], Prepared]:
    """For functions of tensors (B, L, .)."""

    def prepare(shape: Shape) -> Prepared:
        inputs, dy = random_inputs(shape)
        leaves = tuple(tensor.requires_grad_() for tensor in inputs)
        return Prepared(lambda: function(*leaves), leaves, dy)

    return prepare


def channels_first(function: Callable[..., Tensor]) -> Callable[[Shape], Prepared]:
    """For functions of tensors (B, ., L). As in a MambaMixer x and dt are stored so; B, C and z are views."""

    def prepare(shape: Shape) -> Prepared:
        inputs, dy = random_inputs(shape)
        views = Inputs(*(turned(tensor) for tensor in inputs))
        stored = views._replace(x=views.x.contiguous(), dt=views.dt.contiguous())
        leaves = tuple(tensor.requires_grad_() for tensor in stored)
        return Prepared(
            lambda: function(*leaves), leaves, turned(dy), lambda found: tuple(map(turned, found))
        )

    return prepare


def turned(tensor: Tensor) -> Tensor:
    """Channels before steps, or back; what has no steps stays."""
    return tensor.transpose(1, 2) if tensor.dim() == 3 else tensor


def hugging_face(mambapy: bool) -> Callable[..., Tensor]:
    """The scan of transformers' Mamba, which has no kernels for a processor: its loop, or mambapy's scan."""

    def function(*inputs: Tensor) -> Tensor:
        import transformers
        from transformers.models.mamba.modeling_mamba import mamba_selective_scan

        transformers.logging.set_verbosity_error()  # that it is slow, which is what is measured
        x, dt, A, B, C, D, z, dt_bias = inputs
        return mamba_selective_scan(
            x, dt, A, B, C, D=D, z=z, delta_bias=dt_bias, delta_softplus=True, use_mambapy=mambapy
        )

    return function


def needs(*modules: str) -> Callable[[], str | None]:
    """For Peer.missing: the packages that must be there."""

    def missing() -> str | None:
        absent = [module for module in modules if importlib.util.find_spec(module) is None]
        return f"needs {' and '.join(absent)}: pip install 'chartscan-lab[bench]'" if absent else None

    return missing


def einsum_loop(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, dt_bias: Tensor
) -> Tensor:
    """In the manner of mamba_ssm's written reference: decays and inputs (B, E, L, N) first, then a loop."""
    delta = F.softplus(dt + dt_bias.unsqueeze(1))
    decays = torch.exp(torch.einsum("bel,en->beln", delta, A))
    inputs = torch.einsum("bel,bnl,bel->beln", delta, B, x)
    h, ys = torch.zeros_like(inputs[:, :, 0]), []
    for step in range(x.shape[2]):
        h = decays[:, :, step] * h + inputs[:, :, step]
        ys.append(torch.einsum("ben,bn->be", h, C[:, :, step]))
    return (torch.stack(ys, 2) + x * D.unsqueeze(1)) * F.silu(z)


def prepare_ssd(states: int, block: int) -> Callable[[Shape], Prepared]:
    """Mamba-2's scan with heads of 64 channels (fewer where there are fewer), and its own number of states.

    Another and less general model: the channels of a head share one step size and one decay.
    """

    def prepare(shape: Shape) -> Prepared:
        inputs, dy = random_inputs(shape._replace(states=states))
        width = math.gcd(shape.channels, HEAD_CHANNELS)
        x, z, dy = (v.unflatten(2, (-1, width)) for v in (inputs.x, inputs.z, dy))
        dt = inputs.dt[..., ::width].contiguous()
        A, D, dt_bias = (
            -torch.ones(x.shape[2]),
            inputs.D[::width].contiguous(),
            inputs.dt_bias[::width].contiguous(),
        )
        leaves = tuple(v.requires_grad_() for v in (x, dt, A, inputs.B, inputs.C, D, dt_bias, z))
        *given, z = leaves
        scan: Callable[..., tuple[Tensor, ...]] = partial(ssd, chunk=block)
        return Prepared(lambda: scan(*given)[0] * F.silu(z), leaves, dy)

    return prepare


def prepare_lstm(shape: Shape) -> Prepared:
    lstm = torch.nn.LSTM(WIDTH, WIDTH, batch_first=True)
    x = torch.randn(shape.batch, shape.length, WIDTH, requires_grad=True)
    return Prepared(lambda: lstm(x)[0], (x, *lstm.parameters()), torch.randn(x.shape))


def prepare_attention(shape: Shape) -> Prepared:
    size = (shape.batch, HEADS, shape.length, WIDTH // HEADS)
    q, k, v = (torch.randn(size, requires_grad=True) for _ in range(3))
    dy = torch.randn(size)
    return Prepared(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True), (q, k, v), dy)


PEERS = {
    peer.name: peer
    for peer in (
        ours("native"),
        ours("chunked"),
        ours("reference"),
        Peer(
            "transformers, loop",
            channels_first(hugging_face(mambapy=False)),
            missing=needs("transformers"),
            longest_backward=512,
        ),
        Peer(
            "transformers, mambapy",
            channels_first(hugging_face(mambapy=True)),
            missing=needs("transformers", "mambapy"),
        ),
        Peer("einsum, then loop", channels_first(einsum_loop), longest_backward=512),
        Peer("SSD, 16 states, blocks of 64", prepare_ssd(16, 64), comparable=False),
        Peer("SSD, 64 states, blocks of 128", prepare_ssd(64, 128), comparable=False),
        Peer(f"LSTM of width {WIDTH}", prepare_lstm, comparable=False),
        Peer(f"attention of width {WIDTH}, {HEADS} heads", prepare_attention, comparable=False),
    )
}
