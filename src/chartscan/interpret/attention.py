"""Attention maps of the attention layers of a model, by head, and rolled out over them."""

import torch
from torch import Tensor, nn

from chartscan.interpret.recorded import inputs_of
from chartscan.layers.self_attention import SelfAttention


@torch.no_grad()
def attention_maps(model: nn.Module, *inputs: object) -> list[Tensor]:
    """The map (B, heads, L, L) of every attention layer while `model` reads `inputs`, the first one first.

    A layer that tells its `weights(x, lengths)` can be added here.
    """
    layers = [one for one in model.modules() if isinstance(one, SelfAttention)]
    with inputs_of(layers) as given:
        model(*inputs)
    return [layer.weights(*arguments) for layer, arguments in zip(layers, given, strict=True)]
