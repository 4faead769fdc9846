"""One step: the gradient of the mean loss over all predicted tokens of its batches, then one update.

Nothing is updated unless the loss and the whole gradient are finite.
"""

import math
from collections.abc import Iterable

import msgspec
from torch import nn
from torch.optim import AdamW

from chartscan.batch import Loss
from chartscan.errors import ChartscanError


class NonFinite(ChartscanError):
    """The loss or its gradient is infinite or not a number; the weights are as before the step."""


class Update(msgspec.Struct, frozen=True):
    """What a step did."""

    loss: float | None  # (weighed) mean over tokens; None where the batches held nothing to predict
    tokens: float  # predicted tokens, however they weigh
    grad_norm: float  # before clipping


def update(module: nn.Module, optimiser: AdamW, losses: Iterable[Loss], clip_norm: float) -> Update:
    """Updates `module` once from the losses of several batches, as if they were one big batch.

    Each total is differentiated before the next loss is computed, and the gradient divided by the sum of all
    weights, so that a target weighs the same in any batch. Batches without a target change nothing. Raises
    NonFinite before anything is updated.
    """
    optimiser.zero_grad(set_to_none=True)
    total, weight, tokens = 0.0, 0.0, 0.0
    for loss in losses:
        total, weight = total + float(loss.total.detach()), weight + float(loss.weight)
        tokens += float(loss.targets)
        if not math.isfinite(total):
            raise NonFinite(f"the loss is {total}")
        if loss.weight:
            loss.total.backward()
    if not weight:
        return Update(None, 0.0, 0.0)
    norm = _mean_gradient(module, weight, clip_norm)
    if not math.isfinite(norm):
        raise NonFinite(f"the norm of the gradient is {norm}")
    optimiser.step()
    return Update(total / weight, tokens, norm)


def _mean_gradient(module: nn.Module, weight: float, clip_norm: float) -> float:
    """Turns gradients of a sum that weighs `weight` into clipped ones of the mean; their norm before."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(weight)
    return float(nn.utils.clip_grad_norm_(module.parameters(), clip_norm))
