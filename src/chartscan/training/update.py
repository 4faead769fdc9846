"""One step: the gradient of the mean loss over all predicted tokens of its batches, then one update.

Nothing is updated unless the loss and the whole gradient are finite.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from torch import Tensor, nn
from torch.optim import AdamW

from chartscan.errors import ChartscanError

# (module, batch) -> (sum of the losses of all predicted tokens, number of predicted tokens), or where the
# losses are weighed (sum of the weighed losses, sum of their weights, number of predicted tokens)
LossFunction = Callable[[nn.Module, Any], tuple[Tensor, float] | tuple[Tensor, float, int]]


class NonFinite(ChartscanError):
    """The loss or its gradient is infinite or not a number; the weights are as before the step."""


class Update(msgspec.Struct, frozen=True):
    """What a step did."""

    loss: float | None  # (weighed) mean over tokens; None where the batches held nothing to predict
    tokens: float  # predicted tokens, however they weigh
    grad_norm: float  # before clipping


def update(
    module: nn.Module, optimiser: AdamW, batches: Iterable[Any], loss_fn: LossFunction, clip_norm: float
) -> Update:
    """Updates `module` once from all of `batches`, as if they were one big batch.

    Each batch's sum of losses is differentiated by itself and the gradient divided by the number of tokens
    (or the weights) of all, so that a token weighs the same whatever batch it is in. Batches without any
    token to predict change nothing. Raises NonFinite before anything is updated.
    """
    optimiser.zero_grad(set_to_none=True)
    total, weight, tokens = 0.0, 0.0, 0.0
    for batch in batches:
        loss_sum, weight_sum, *n_tokens = loss_fn(module, batch)
        total, weight = total + float(loss_sum.detach()), weight + float(weight_sum)
        tokens += float(n_tokens[0] if n_tokens else weight_sum)
        if not math.isfinite(total):
            raise NonFinite(f"the loss is {total}")
        if weight_sum:
            loss_sum.backward()
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
