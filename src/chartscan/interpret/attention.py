"""Attention as an explanation: recorded, rolled out over layers, and the hidden attention of Mamba.

Ali, Zimerman and Wolf 2024 (arXiv:2403.01590): the scan of channel e, unrolled, is y_i = sum_j alpha_ij u_j
with

    alpha_ij = sum_n C_i[n] exp(A[e, n] (delta_(j+1) + ... + delta_i)) delta_j B_j[n],    j <= i

and so an attention map a channel, whose weights have signs and no fixed sum. With the skip, the convolution
before and the gate after it, which are as linear once the inputs are known (SiLU is c times sigmoid(c)), a
whole block mixes positions as one such map (Zimerman, Ali and Wolf 2024, arXiv:2405.16504).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.kernels import causal_conv, linear
from chartscan.layers.attention import SelfAttention
from chartscan.layers.encoder import EncoderLayer
from chartscan.layers.mamba import MambaBlock

NUMBERS = 1 << 24  # of a map that are in memory at once: 64 MiB


def attention_maps(model: nn.Module, *inputs: object) -> Iterator[Tensor]:
    """The map (B, heads, L, L) of every attention layer while `model` reads `inputs`, the first one first.

    One after the other: all maps of a long row would fill the memory.
    """
    layers = attending(model)
    with torch.no_grad(), inputs_of(layers) as given:
        model(*inputs)
    for layer, arguments in zip(layers, given, strict=True):
        with torch.no_grad():
            yield layer.weights(*arguments)


def attending(model: nn.Module) -> list[SelfAttention | EncoderLayer]:
    """Return the model's layers with `weights(x, lengths)`; add new kinds here."""
    return [one for one in model.modules() if isinstance(one, SelfAttention | EncoderLayer)]


# Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928): half of each position is the residual.


def rollout(weights: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Return attention rollout (B, L): the last map's weights as weights on inputs.

    `maps` (B, L, L) are in the order of the layers, each row adding up to 1.
    """
    for layer in reversed(maps):
        weights = (weights + (weights.unsqueeze(1) @ layer).squeeze(1)) / 2
    return weights


class Selection(NamedTuple):
    """What one Mamba block computes: B rows, L steps, E channels, N states, K taps."""

    inputs: Tensor  # (B, L, E), of the convolution
    convolved: Tensor  # (B, L, E), before SiLU
    delta: Tensor  # (B, L, E), step sizes; 0 at padding
    A: Tensor  # (E, N), negative
    B: Tensor  # (B, L, N)
    C: Tensor  # (B, L, N)
    gate: Tensor  # (B, L, E), SiLU of the gate's input
    D: Tensor  # (E,)
    taps: Tensor  # (E, K), of the convolution; the last one is of the step itself
    bias: Tensor  # (E,), of the convolution

    @property
    def scanned(self) -> Tensor:
        """What the scan reads, (B, L, E)."""
        return F.silu(self.convolved)


@torch.no_grad()
def selections(model: nn.Module, *inputs: object) -> list[Selection]:
    """Return each Mamba block's selection as `model` reads `inputs`, in block order."""
    blocks = [one for one in model.modules() if isinstance(one, MambaBlock)]
    with inputs_of(blocks) as given:
        model(*inputs)
    return [selection(block, *arguments) for block, arguments in zip(blocks, given, strict=True)]


def selection(block: MambaBlock, x: Tensor, lengths: Tensor | None = None) -> Selection:
    """Return what `block` computes with for the inputs (B, L, D) of its `forward`."""
    inputs, gate = linear(block.norm(x), block.in_proj.weight).chunk(2, dim=2)
    convolved = causal_conv(inputs, block.conv_weight, block.conv_bias, backend=block.backend)
    rank, states = block.dt_proj.in_features, block.A_log.shape[1]
    low, B, C = linear(F.silu(convolved), block.x_proj.weight).split([rank, states, states], dim=2)
    delta = F.softplus(linear(low, block.dt_proj.weight) + block.dt_bias)
    if lengths is not None:
        delta = delta * (torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)).unsqueeze(2)
    A = -torch.exp(block.A_log)
    return Selection(
        inputs, convolved, delta, A, B, C, F.silu(gate), block.D, block.conv_weight, block.conv_bias
    )


def mean_attention(found: Selection, positions: Tensor, whole_block: bool = True) -> Tensor:
    """Return the mean size of the maps' weights over channels (B, Q, L).

    Each row sums to 1. Of the whole block, with convolution, skip and gate, or of the bare scan.
    """
    rows, steps, inner = found.delta.shape
    at_once = max(1, NUMBERS // max(rows * positions.shape[1] * steps, 1))
    total = found.delta.new_zeros(rows, positions.shape[1], steps)
    for first in range(0, inner, at_once):
        part = slice(first, first + at_once)
        if whole_block:
            weights, _ = block_attention(found, positions, part)
        else:
            weights = scan_attention(found, positions, part)
        total += weights.abs().sum(1)
    return total / total.sum(2, keepdim=True).clamp(min=torch.finfo(total.dtype).tiny)


def contributions(found: Selection, out_proj: Tensor, positions: Tensor) -> Tensor:
    """Return the length of each step's contribution to the output at `positions` (B, L).

    The steps pass through `out_proj` (D, E); `positions` (B,). A weight tells little where what it weighs is
    small (Kobayashi et al. 2020, arXiv:2004.10102).
    """
    weights, _ = block_attention(found, positions.unsqueeze(1))
    added = weights[:, :, 0] * found.inputs.transpose(1, 2)  # (B, E, L)
    return torch.einsum("bel,de->bld", added, out_proj).norm(dim=2)


def scan_attention(found: Selection, positions: Tensor, channels: slice = slice(None)) -> Tensor:
    """alpha (B, E, Q, L) at the `positions` (B, Q): applied to `found.scanned` it gives the scan's output.

    Skip and gate are left out. The cost is that of Q x L x E x N numbers, linear in L for one position.
    """
    clock = found.delta[..., channels].cumsum(1).transpose(1, 2)  # (B, E, L)
    asked = positions.unsqueeze(1).expand(-1, clock.shape[1], -1)  # (B, E, Q)
    waited = (clock.gather(2, asked).unsqueeze(3) - clock.unsqueeze(2)).clamp(min=0)  # (B, E, Q, L)
    C = found.C.gather(1, positions.unsqueeze(2).expand(-1, -1, found.C.shape[2]))  # (B, Q, N)
    total = torch.zeros_like(waited)
    for n, decay in enumerate(found.A[channels].unbind(1)):
        match = C[:, :, n].unsqueeze(2) * found.B[:, :, n].unsqueeze(1)  # (B, Q, L)
        total += torch.exp(waited * decay[:, None, None]) * match.unsqueeze(1)
    total *= found.delta[..., channels].transpose(1, 2).unsqueeze(2)
    steps = torch.arange(clock.shape[2], device=clock.device)
    return total * (steps <= positions.unsqueeze(2)).unsqueeze(1)


def block_attention(
    found: Selection, positions: Tensor, channels: slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """The map of a block between its outer projections, (B, E, Q, L), and the rest (B, E, Q).

    Applied to `found.inputs` and with the rest added, which the convolution's bias makes, it gives the gated
    output at the `positions` (B, Q).
    """
    through = scan_attention(found, positions, channels)
    index = positions[:, None, :, None].expand(-1, through.shape[1], -1, 1)
    skip = found.D[channels][None, :, None, None].expand_as(index)
    through = through.scatter_add(3, index, skip.to(through.dtype))
    through = through * torch.sigmoid(found.convolved[..., channels]).transpose(1, 2).unsqueeze(2)
    gate = found.gate[..., channels].gather(1, positions.unsqueeze(2).expand(-1, -1, through.shape[1]))
    through = through * gate.transpose(1, 2).unsqueeze(3)
    rest = through.sum(3) * found.bias[channels][None, :, None]
    return _before_convolution(through, found.taps[channels]), rest


def every_position(found: Selection) -> Tensor:
    """(B, L): all steps as positions, for whole matrices."""
    rows, steps = found.delta.shape[:2]
    return torch.arange(steps, device=found.delta.device).expand(rows, steps)


def _before_convolution(weights: Tensor, taps: Tensor) -> Tensor:
    """Weights (B, E, Q, L) on a convolution's outputs as weights on its inputs."""
    found = torch.zeros_like(weights)
    steps, width = weights.shape[3], taps.shape[1]
    for back in range(min(width, steps)):
        found[..., : steps - back] += weights[..., back:] * taps[:, width - 1 - back, None, None]
    return found


def by_type(attributions: pl.DataFrame) -> pl.DataFrame:
    """Summarise tokens by method and type: mean, mean size, sum per answer.

    The sum per answer is that of the EHRMamba paper. `attributions` has a row for each event of an answer:
    `answer`, `method`, `type`, `attribution`.
    """
    value = pl.col("attribution")
    answers = pl.col("answer").n_unique().over("method").alias("answers")
    return (
        attributions.with_columns(answers)
        .group_by("method", "type")
        .agg(
            tokens=pl.len(),
            mean=value.mean(),
            mean_size=value.abs().mean(),
            sum_per_answer=value.sum() / pl.col("answers").first(),
        )
        .sort("method", "mean_size", descending=[False, True])
    )


@contextmanager
def inputs_of(modules: Sequence[nn.Module]) -> Iterator[list[tuple[Any, ...]]]:
    """Record the positional arguments of each call of the `modules` inside the block."""
    inputs: list[tuple[Any, ...]] = []
    handles = [one.register_forward_pre_hook(lambda _, given: inputs.append(given)) for one in modules]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def outputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Record what `module` returns inside the block, call by call."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def first_output(module: nn.Module, output: Tensor) -> Iterator[None]:
    """The first call of `module` gives `output` for every input; later calls give their own."""
    calls = 0

    def hook(_: nn.Module, __: Any, given: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return output if calls == 1 else given

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
