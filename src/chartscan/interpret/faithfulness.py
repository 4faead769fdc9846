"""Whether an explanation tells what the model goes by: deletion tests, agreement, a sanity check.

Comprehensiveness and sufficiency as in ERASER (DeYoung et al. 2020, arXiv:1911.03429), on log odds: how far
they move without the events ranked highest, and how far they are off with these alone. An explanation is
worth something where it does better than random ranks. Events rank by the absolute attribution, since
attention has no sign. Randomised weights: Adebayo et al. 2018 (arXiv:1810.03292).
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from chartscan.batch import SeriesBatch
from chartscan.interpret.occlusion import Score, real_events, without

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)


def top_events(attribution: Tensor, lengths: Tensor, share: float) -> Tensor:
    """(B, L) bool: the events of largest absolute attribution, `share` of each stay's, rounded up.

    Of equal ones the earlier come first.
    """
    positions = torch.arange(attribution.shape[1], device=lengths.device)
    padding = positions >= lengths.unsqueeze(1)
    order = torch.argsort(attribution.abs().masked_fill(padding, -1.0), dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, positions.expand_as(order))
    wanted = torch.ceil(lengths.double() * share - 1e-9)
    return (rank < wanted.unsqueeze(1)) & ~padding


@torch.no_grad()
def comprehensiveness(
    score: Score, batch: SeriesBatch, attribution: Tensor, shares: Sequence[float] = SHARES
) -> Tensor:
    """(B, K): absolute change of the log odds without the top events, for each share; larger is better."""
    whole = score(batch)
    tops = [top_events(attribution, batch.lengths, share) for share in shares]
    return torch.stack([(whole - score(without(batch, top))).abs() for top in tops], 1)


@torch.no_grad()
def sufficiency(
    score: Score, batch: SeriesBatch, attribution: Tensor, shares: Sequence[float] = SHARES
) -> Tensor:
    """(B, K): absolute change of the log odds with the top events alone; smaller is better."""
    whole = score(batch)
    tops = [top_events(attribution, batch.lengths, share) for share in shares]
    return torch.stack([(whole - score(without(batch, ~top))).abs() for top in tops], 1)


def random_attribution(batch: SeriesBatch, seed: int) -> Tensor:
    """(B, L): ranks that know nothing, the same for the same seed."""
    random = torch.Generator().manual_seed(seed)
    found = torch.rand(batch.hours.shape, generator=random).to(batch.hours.device)
    return found * real_events(batch)


def rank_correlation(one: Tensor, other: Tensor, lengths: Tensor) -> NDArray[np.float64]:
    """(B,): Spearman's correlation of absolute attributions within each stay.

    nan where a stay has fewer than two events, or one attribution is the same for all of them.
    """
    pairs = zip(one.abs().cpu().numpy(), other.abs().cpu().numpy(), lengths.tolist(), strict=True)
    return np.array([_spearman(a[:n], b[:n]) for a, b, n in pairs], np.float64)


def shuffled(module: nn.Module, seed: int) -> nn.Module:
    """A copy whose weights are in random places of their own tensors: as large, and without what was learned.

    Explanations that stay the same for it do not explain the model.
    """
    random = torch.Generator().manual_seed(seed)
    found = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in found.parameters():
            order = torch.randperm(parameter.numel(), generator=random).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return found


def _spearman(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
