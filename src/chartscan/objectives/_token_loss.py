"""Cross-entropy over a large vocabulary without the (tokens x V) logits: one chunk of tokens at a time.

The gradients are computed in the forward pass, while a chunk's probabilities are at hand, so that nothing is
computed twice: three matrix products and one exponential a logit in all.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_LOGITS = 2**20  # logits held at once (4 MiB in float32)
_MIN_TOKENS = 64  # but never fewer tokens than this, or the matrix products become slow


def token_loss(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Sum of -log softmax(hidden W^T + b)[target] over M tokens, as a float32 scalar.

    `hidden` (M, D), `weight` (V, D), `bias` (V,), `targets` (M,). Under autocast the products run in its
    precision; softmax and sums in float32.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    with torch.autocast(device, enabled=False):
        return _TokenLoss.apply(hidden, weight, bias, targets, dtype, torch.is_grad_enabled())  # type: ignore[no-untyped-call]


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        learn: bool,
    ) -> Tensor:
        total = torch.zeros((), dtype=weight.dtype, device=hidden.device)
        dhidden, dweight, dbias = torch.empty_like(hidden), torch.zeros_like(weight), torch.zeros_like(bias)
        chunk = max(_LOGITS // len(weight), _MIN_TOKENS)
        low_hidden, low_weight = hidden.to(dtype), weight.to(dtype)
        products = low_hidden.new_empty(min(chunk, len(hidden)), len(weight))  # (M', V), for every chunk
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            h, index = low_hidden[part], targets[part].unsqueeze(1)
            logits = torch.mm(h, low_weight.t(), out=products[: len(h)]).to(weight.dtype).add_(bias)
            logits.sub_(logits.amax(1, keepdim=True))
            total -= logits.gather(1, index).sum()
            normaliser = logits.exp_().sum(1, keepdim=True)
            total += normaliser.log().sum()
            if learn:
                dlogits = logits.div_(normaliser)  # softmax
                dlogits.scatter_add_(1, index, torch.full_like(normaliser, -1))
                low = dlogits.to(dtype)
                dhidden[part] = torch.mm(low, low_weight)
                dweight.add_(torch.mm(low.t(), h))
                dbias.add_(dlogits.sum(0))
        ctx.save_for_backward(dhidden, dweight, dbias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dtotal: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return (*(grad * dtotal for grad in ctx.saved_tensors), None, None, None)
