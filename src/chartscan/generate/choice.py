"""Which token comes next, by the model's logits: the likeliest, or one drawn by temperature and top-p."""

from typing import NamedTuple

import torch
from torch import Tensor


class Choice(NamedTuple):
    """The next token of each row, and its log probability by the model itself among the tokens allowed."""

    codes: Tensor  # (R,) int64
    log_probs: Tensor  # (R,) float32, at temperature 1 and without top-p


def choose(logits: Tensor, allowed: Tensor, temperature: float, top_p: float, places: Tensor) -> Choice:
    """One token a row of `logits` (R, V), where `allowed` (R, V) or (V,) is true.

    Temperature 0 takes the likeliest. Otherwise the least set of likeliest tokens that together have `top_p`
    at `temperature` is drawn from (Holtzman et al. 2020), by `places` (R,) in [0, 1): a row's token depends
    on its own logits and place alone.
    """
    scores = torch.log_softmax(logits.masked_fill(~allowed, -torch.inf).double(), -1)
    codes = scores.argmax(-1) if temperature == 0 else _drawn(scores / temperature, top_p, places)
    return Choice(codes, scores.gather(-1, codes.unsqueeze(-1)).squeeze(-1).float())


def _drawn(scores: Tensor, top_p: float, places: Tensor) -> Tensor:
    """By inverse cumulative distribution: over all tokens by their ids, or the likeliest first."""
    if top_p == 1:
        return _at(torch.softmax(scores, -1).cumsum(-1), places)
    likeliest, order = torch.softmax(scores, -1).sort(dim=-1, descending=True, stable=True)
    before = likeliest.cumsum(-1) - likeliest
    kept = (before < top_p) & (likeliest > 0)
    index = _at((likeliest * kept).cumsum(-1), places)
    return order.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _at(upper: Tensor, places: Tensor) -> Tensor:
    """The index at which cumulated probabilities `upper` (R, V) pass `places` (R,) of their sum."""
    target = places.double().unsqueeze(-1) * upper[:, -1:]
    last = torch.searchsorted(upper, upper[:, -1:].contiguous())  # rounding must not go beyond it
    return torch.minimum(torch.searchsorted(upper, target, right=True), last).squeeze(-1)
