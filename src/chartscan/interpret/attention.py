"""Attention maps of the attention layers of a model, by head."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from chartscan.interpret.recorded import inputs_of
from chartscan.layers.encoder_layer import EncoderLayer
from chartscan.layers.self_attention import SelfAttention


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
