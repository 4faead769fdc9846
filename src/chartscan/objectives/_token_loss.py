"""Cross-entropy over a large vocabulary in chunks, without (tokens x V) logits.

The gradients are computed in the forward pass, while a chunk's probabilities are at hand, so that nothing is
computed twice: three matrix products and one exponential a logit in all. A chunk of float32 logits is written
by the product, read and written by the softmax, read by the sum for the bias and by the two products of the
gradient; with products in bfloat16 it is also converted once each way.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from chartscan.kernels.products import by_input, by_weight, linear

_LOGITS = 2**21  # logits held at once (8 MiB in float32): half or twice as many are slower
_MIN_TOKENS = 64  # but never fewer tokens than this, or the matrix products become slow


def vocabulary_map(width: int, vocab_size: int, embedding: nn.Embedding | None) -> nn.Linear:
    """Return W and b of the softmax; `embedding` (V, D) ties W to the codes."""
    found = nn.Linear(width, vocab_size)
    if embedding is None:
        nn.init.normal_(found.weight, std=0.02)
    else:
        found.weight = embedding.weight
    nn.init.zeros_(found.bias)
    return found


def token_loss(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, shares: Tensor | None = None
) -> Tensor:
    """Sum of -log softmax(hidden W^T + b)[target] over M tokens, as a float32 scalar.

    `hidden` (M, D), `weight` (V, D), `bias` (V,), `targets` (M,); each token's loss is multiplied by its
    share (M,), if given. Under autocast the products run in its precision; softmax and sums in float32.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    with torch.autocast(device, enabled=False):
        return _TokenLoss.apply(hidden, weight, bias, targets, shares, dtype, torch.is_grad_enabled())  # type: ignore[no-untyped-call]


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        shares: Tensor | None,
        dtype: torch.dtype,
        learn: bool,
    ) -> Tensor:
        total = torch.zeros((), dtype=weight.dtype, device=hidden.device)
        dhidden, dbias = torch.empty_like(hidden), torch.zeros_like(bias)
        dweight: Tensor | None = None
        low_hidden, low_weight = hidden.to(dtype), weight.to(dtype)
        chunk = max(_LOGITS // len(weight), _MIN_TOKENS)
        shape = min(chunk, len(hidden)), len(weight)  # of the logits of a chunk, (M', V)
        softmaxes = weight.new_empty(shape)
        lows = None if dtype == weight.dtype else low_weight.new_empty(shape)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            h, index = low_hidden[part], targets[part].unsqueeze(1)
            low = None if lows is None else lows[: len(h)]
            logits = _logits(h, low_weight, bias, low)
            softmax = torch.softmax(logits, 1, out=softmaxes[: len(h)])
            share = None if shares is None else shares[part].unsqueeze(1)  # (M', 1)
            found = _log_likelihoods(logits, softmax, index)
            total -= (found if share is None else found * share).sum()
            if learn:
                dlogits = softmax.scatter_add_(1, index, logits.new_full((len(h), 1), -1))
                if share is not None:
                    dlogits.mul_(share)
                dbias.add_(dlogits.sum(0))
                low = dlogits if low is None else low.copy_(dlogits)
                dhidden[part] = by_input(low, low_weight)
                now = by_weight(low, h)
                dweight = now.to(weight.dtype) if dweight is None else dweight.add_(now)
        ctx.save_for_backward(dhidden, torch.zeros_like(weight) if dweight is None else dweight, dbias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dtotal: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return (*(grad * dtotal for grad in ctx.saved_tensors), None, None, None, None)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor, low: Tensor | None) -> Tensor:
    """hidden W^T + b in the precision of `bias`; the product in that of `low`, if given, and by way of it."""
    if low is None:
        return linear(hidden, weight, bias)
    return torch.mm(hidden, weight.t(), out=low).to(bias.dtype).add_(bias)


def _log_likelihoods(logits: Tensor, softmax: Tensor, targets: Tensor) -> Tensor:
    """Logarithms (M', 1) of the targets' probabilities.

    A probability too small for its format has lost its digits: those few rows start again from the logits.
    """
    likelihood = softmax.gather(1, targets)  # (M', 1)
    found = likelihood.log()
    lost = (likelihood < torch.finfo(likelihood.dtype).tiny).squeeze(1)
    if lost.any():
        found[lost] = logits[lost].log_softmax(1).gather(1, targets[lost])
    return found
