"""Attention as an explanation: recorded, rolled out over layers, summed by event."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

from chartscan.layers.attention import SelfAttention
from chartscan.layers.encoder import EncoderLayer

# Attributions by type of event: per token, and in sum, where a type of many is large by being many.


def by_type(attributions: pl.DataFrame) -> pl.DataFrame:
    """Of each method and type the tokens, their mean, mean size, and the sum an answer (EHRMamba's way).

    `attributions` has a row for each event of an answer: `answer`, `method`, `type`, `attribution`.
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


# Attention rollout: one map for many layers (Abnar and Zuidema 2020, arXiv:2005.00928).
# Half of what a position holds it keeps (the residual), half it takes from others by the layer's weights.


def rollout(weights: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Weights (B, L) on the outputs of the last of `maps` as weights on the inputs of the first.

    `maps` (B, L, L) are in the order of the layers, each row adding up to 1.
    """
    for layer in reversed(maps):
        weights = (weights + (weights.unsqueeze(1) @ layer).squeeze(1)) / 2
    return weights


# What goes in and out of the parts of a model while it runs, and an output put in the place of another.


@contextmanager
def outputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """What `module` gives meanwhile, call by call."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def inputs_of(modules: Sequence[nn.Module]) -> Iterator[list[tuple[Any, ...]]]:
    """The positional arguments of each call of the `modules` meanwhile."""
    inputs: list[tuple[Any, ...]] = []
    handles = [one.register_forward_pre_hook(lambda _, given: inputs.append(given)) for one in modules]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def first_output(module: nn.Module, output: Tensor) -> Iterator[None]:
    """The first call of `module` gives `output`, whatever it is shown; later ones what they give."""
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


# Attention maps of the attention layers of a model, by head.


def attending(model: nn.Module) -> list[SelfAttention | EncoderLayer]:
    """The layers of a model that tell their `weights(x, lengths)`; a new kind of layer joins here."""
    return [one for one in model.modules() if isinstance(one, SelfAttention | EncoderLayer)]


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
