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

# (module, batch) -> (sum of the losses of all predicted tokens, number of predicted tokens)
LossFunction = Callable[[nn.Module, Any], tuple[Tensor, float]]


class NonFinite(ChartscanError):
    """The loss or its gradient is infinite or not a number; the weights are as before the step."""


class Update(msgspec.Struct, frozen=True):
    """What a step did."""

    loss: float | None  # mean over tokens; None where the batches held nothing to predict
    tokens: float  # predicted tokens
    grad_norm: float  # before clipping


def update(
    module: nn.Module, optimiser: AdamW, batches: Iterable[Any], loss_fn: LossFunction, clip_norm: float
) -> Update:
    """Updates `module` once from all of `batches`, as if they were one big batch.

    Each batch's sum of losses is differentiated by itself and the gradient divided by the number of tokens
    of all, so that a token weighs the same whatever batch it is in. Batches without any token to predict
    change nothing. Raises NonFinite before anything is updated.
    """
    optimiser.zero_grad(set_to_none=True)
    total, tokens = 0.0, 0.0
    for batch in batches:
        loss_sum, n_tokens = loss_fn(module, batch)
        total, tokens = total + float(loss_sum.detach()), tokens + float(n_tokens)
        if not math.isfinite(total):
            raise NonFinite(f"the loss is {total}")
        if n_tokens:
            loss_sum.backward()
    if not tokens:
        return Update(None, 0.0, 0.0)
    norm = _mean_gradient(module, tokens, clip_norm)
    if not math.isfinite(norm):
        raise NonFinite(f"the norm of the gradient is {norm}")
    optimiser.step()
    return Update(total / tokens, tokens, norm)


def _mean_gradient(module: nn.Module, tokens: float, clip_norm: float) -> float:
    """Turns gradients of a sum over `tokens` into clipped ones of the mean; their norm before clipping."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(tokens)
    return float(nn.utils.clip_grad_norm_(module.parameters(), clip_norm))
