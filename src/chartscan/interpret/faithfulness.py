"""What removing events does: occlusion, and whether an explanation shows what the model uses.

Events are removed, not set to zero, so that the model sees a shorter record of a kind that it knows.
Comprehensiveness and sufficiency as in ERASER (DeYoung et al. 2020, arXiv:1911.03429), on log odds: how far
they move without the events ranked highest, and how far they are off with these alone. An explanation is
worth something where it does better than random ranks. Events rank there by the absolute attribution, since
attention has no sign. Randomised weights: Adebayo et al. 2018 (arXiv:1810.03292).
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from chartscan.interpret.events import AnyBatch, Score, candidates, longest, rows_of, without

Progress = Callable[[int, int | None], None]
POSITIONS = 1 << 16  # in one pass
SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
CURVE = tuple(k / 20 for k in range(21))  # shares at which insertion and deletion curves are read


@torch.no_grad()
def occlusion(
    score: Score[AnyBatch], batch: AnyBatch, groups: Tensor, progress: Progress | None = None
) -> Tensor:
    """Return the change in log odds from each group's events (B, G); 0 without events.

    `groups` (B, L) numbers the events' groups 0 .. G - 1; events of one group are removed together.
    """
    real = candidates(batch)
    n_groups = int(groups[real].max()) + 1 if bool(real.any()) else 0
    changes = torch.zeros(len(batch.lengths), n_groups, device=groups.device)
    pairs = _present(groups, real)  # (K, 2) row and group
    whole = score(batch)
    at_once = max(1, POSITIONS // max(longest(batch), 1))
    for first in range(0, len(pairs), at_once):
        rows, which = pairs[first : first + at_once].T
        some = rows_of(batch, rows)
        less = score(without(some, groups[rows] == which.unsqueeze(1)))
        changes[rows, which] = (whole[rows] - less).to(changes.dtype)
        if progress:
            progress(min(first + at_once, len(pairs)), len(pairs))
    return changes


def event_occlusion(score: Score[AnyBatch], batch: AnyBatch, progress: Progress | None = None) -> Tensor:
    """What each event by itself adds, (B, L); 0 at padding."""
    size = longest(batch)
    positions = torch.arange(size, device=batch.lengths.device).expand(len(batch.lengths), size)
    found = occlusion(score, batch, positions, progress)
    return torch.nn.functional.pad(found, (0, size - found.shape[1]))


def top_events(attribution: Tensor, among: Tensor, share: float) -> Tensor:
    """Return the events of largest attribution (B, L) bool: `share` of `among`, rounded up.

    Of equal ones the earlier come first. Sizes are compared where the caller gives sizes.
    """
    positions = torch.arange(attribution.shape[1], device=among.device)
    order = torch.argsort(attribution.masked_fill(~among, -torch.inf), dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, positions.expand_as(order))
    wanted = torch.ceil(among.sum(1).double() * share - 1e-9)
    return (rank < wanted.unsqueeze(1)) & among


@torch.no_grad()
def comprehensiveness(
    score: Score[AnyBatch], batch: AnyBatch, attribution: Tensor, shares: Sequence[float] = SHARES
) -> Tensor:
    """Return the change of log odds without top events (B, K); larger is better."""
    return (_scores(score, batch, attribution.abs(), shares, keep=False) - score(batch).unsqueeze(1)).abs()


@torch.no_grad()
def sufficiency(
    score: Score[AnyBatch], batch: AnyBatch, attribution: Tensor, shares: Sequence[float] = SHARES
) -> Tensor:
    """(B, K): absolute change of the log odds with the top events alone; smaller is better."""
    return (_scores(score, batch, attribution.abs(), shares, keep=True) - score(batch).unsqueeze(1)).abs()


@torch.no_grad()
def deletion(score: Score[AnyBatch], batch: AnyBatch, attribution: Tensor) -> Tensor:
    """Return the mean probability as the strongest events are removed (B,); smaller is better.

    The events that raise the probability most go first. The area under the curve from all events to none.
    Events rank by the attribution itself, sign included. Petsiuk, Das and Saenko 2018 (arXiv:1806.07421).
    """
    return _area(_scores(score, batch, attribution, CURVE, keep=False))


@torch.no_grad()
def insertion(score: Score[AnyBatch], batch: AnyBatch, attribution: Tensor) -> Tensor:
    """Return mean probability with strongest events added first (B,); larger is better."""
    return _area(_scores(score, batch, attribution, CURVE, keep=True))


def random_attribution(batch: AnyBatch, seed: int) -> Tensor:
    """(B, L): random ranks, the same for the same seed."""
    random = torch.Generator().manual_seed(seed)
    found = torch.rand(len(batch.lengths), longest(batch), generator=random).to(batch.lengths.device)
    return found * candidates(batch)


def rank_correlation(one: Tensor, other: Tensor, lengths: Tensor) -> NDArray[np.float64]:
    """(B,): Spearman's correlation of absolute attributions within each stay.

    nan where a stay has fewer than two events, or one attribution is the same for all of them.
    """
    pairs = zip(one.abs().cpu().numpy(), other.abs().cpu().numpy(), lengths.tolist(), strict=True)
    return np.array([spearman(a[:n], b[:n]) for a, b, n in pairs], np.float64)


def spearman(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the rank correlation (n,); nan below two events or for constants."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def shuffled(module: nn.Module, seed: int) -> nn.Module:
    """Return a copy with each tensor's weights shuffled: same sizes, nothing learned.

    Explanations that stay the same for it do not explain the model.
    """
    random = torch.Generator().manual_seed(seed)
    found = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in found.parameters():
            order = torch.randperm(parameter.numel(), generator=random).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return found


def _present(groups: Tensor, real: Tensor) -> Tensor:
    """(K, 2): the pairs of row and group that occur, sorted."""
    rows = torch.arange(len(groups), device=groups.device).unsqueeze(1).expand_as(groups)
    return torch.stack([rows[real], groups[real]], 1).unique(dim=0)


def _scores(
    score: Score[AnyBatch], batch: AnyBatch, rank: Tensor, shares: Sequence[float], keep: bool
) -> Tensor:
    """(B, K): log odds with the top events alone, or without them, for each share."""
    among = candidates(batch)
    tops = [top_events(rank, among, share) for share in shares]
    return torch.stack([score(without(batch, among & ~top if keep else top)) for top in tops], 1)


def _area(log_odds: Tensor) -> Tensor:
    return torch.trapezoid(torch.sigmoid(log_odds), dx=1 / (log_odds.shape[1] - 1), dim=1)
