"""Attention rollout: one map for many layers (Abnar and Zuidema 2020, arXiv:2005.00928).

Half of what a position holds it keeps (the residual), half it takes from others by the layer's weights.
"""

from collections.abc import Sequence

from torch import Tensor


def rollout(weights: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Weights (B, L) on the outputs of the last of `maps` as weights on the inputs of the first.

    `maps` (B, L, L) are in the order of the layers, each row adding up to 1.
    """
    for layer in reversed(maps):
        weights = (weights + (weights.unsqueeze(1) @ layer).squeeze(1)) / 2
    return weights
