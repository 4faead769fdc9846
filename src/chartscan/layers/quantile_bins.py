"""Values as positions among the quantiles of their variable."""

import torch
from torch import Tensor, nn

# Piecewise-linear encoding (Gorishniy et al. 2022, arXiv:2203.05556); nothing of the encoding is trained.

_SPREAD = 0.05  # added to a column's SD before its root divides the column: rare columns stay small
_RAW = 0.3  # share of the feature itself beside its bins
_FEW = 20  # stays in which a feature must have been seen to have edges of its own


class QuantileBins(nn.Module):
    """F features -> positions in bins and centred features (B, F (bins + 1))."""

    edges: Tensor
    centre: Tensor
    divisor: Tensor

    def __init__(self, features: int, bins: int):
        super().__init__()
        self.register_buffer("edges", torch.zeros(features, bins + 1))
        self.register_buffer("centre", torch.zeros(features * (bins + 1)))
        self.register_buffer("divisor", torch.ones(features * (bins + 1)))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) -> (B, F (bins + 1)); below the lowest edge down to -1."""
        return (self._encoded(features) - self.centre) / self.divisor

    def _encoded(self, features: Tensor) -> Tensor:
        low, width = self.edges[:, :-1], self.edges.diff(dim=1)
        there = width > 1e-6
        position = torch.where(there, (features.unsqueeze(2) - low) / width.clamp(min=1e-6), 0.0)
        first, others = position[..., :1].clamp(-1, 1), position[..., 1:].clamp(0, 1)
        return torch.cat([torch.cat([first, others], 2).flatten(1), _RAW * features], 1)

    @torch.no_grad()
    def fit(self, features: Tensor, seen: Tensor) -> None:
        """Fit edges on observed values (n, F), centre and divisor on all of them."""
        levels = torch.linspace(0, 1, self.edges.shape[1], dtype=torch.float64)
        for column in range(features.shape[1]):
            chosen = seen[:, column] if int(seen[:, column].sum()) > _FEW else slice(None)
            self.edges[column] = torch.quantile(features[chosen, column].double(), levels).float()
        encoded = self._encoded(features)
        self.centre.copy_(encoded.mean(0))
        self.divisor.copy_((encoded.std(0, correction=0) + _SPREAD).sqrt())


# Normal scores by rank among the training stays, so units and tails do not matter. Features that predict the
# outcome alone may get a larger scale, so that a ridge penalty or a short training uses them first.

KNOTS = 65
_EXTREME = 0.002  # levels of the outermost knots are this far from 0 and 1


class QuantileScores(nn.Module):
    """Return normal scores z and a quadratic term of F features (B, 2 F).

    The quadratic term is (z^2 - 1) / sqrt 2; an unseen feature has 0 and 0. Between knots scores are
    interpolated, beyond the outermost they stay; a value that many stays share has the middle of the scores
    of its lowest and highest knots. Before `fit` everything is 0.
    """

    knots: Tensor
    levels: Tensor
    scale: Tensor

    def __init__(self, features: int):
        super().__init__()
        levels = torch.linspace(_EXTREME, 1 - _EXTREME, KNOTS, dtype=torch.float64)
        self.register_buffer("knots", torch.zeros(features, KNOTS))
        self.register_buffer("levels", torch.special.ndtri(levels).float())  # (KNOTS,)
        self.register_buffer("scale", torch.zeros(features))

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        """Features (B, F) and whether each was seen (B, F) -> (B, 2 F)."""
        z = self.scores(features) * seen
        square = (z * z - 1) * 0.5**0.5 * seen
        return torch.cat([z * self.scale, square * self.scale], 1)

    def scores(self, features: Tensor) -> Tensor:
        """Normal scores (B, F) of features (B, F)."""
        x = features.t().contiguous()  # (F, B)
        above = torch.searchsorted(self.knots, x, right=True)
        below = torch.searchsorted(self.knots, x)
        low, high = (below - 1).clamp(min=0), below.clamp(max=KNOTS - 1)
        left, right = self.knots.gather(1, low), self.knots.gather(1, high)
        share = ((x - left) / (right - left).clamp(min=1e-12)).clamp(0, 1)
        between = torch.lerp(self.levels[low], self.levels[high], share)
        shared = (self.levels[high] + self.levels[(above - 1).clamp(min=0)]) / 2
        return torch.where(above > below, shared, between).t()

    @torch.no_grad()
    def fit(self, features: Tensor, seen: Tensor, labels: Tensor) -> None:
        """Fit knots on observed values (n, F), scales on their relation to `labels` (n, T).

        The scale is the root of a feature's share of the squared correlations (its own or its square's, the
        greatest over the tasks), about 1 in the mean; less what chance gives, and never quite 0 but where no
        stay has the feature: of it nothing could be learned.
        """
        levels = torch.linspace(_EXTREME, 1 - _EXTREME, KNOTS, dtype=torch.float64)
        for column in range(features.shape[1]):
            values = features[seen[:, column], column].double()
            if len(values):
                self.knots[column] = torch.quantile(values, levels).float()
        z = self.scores(features) * seen
        strength = torch.zeros(features.shape[1])
        for task in range(labels.shape[1]):
            known = ~labels[:, task].isnan()
            answers = labels[known, task]
            chance = 1 / max(len(answers), 1)
            for part in (z[known], z[known].square()):
                strength = torch.maximum(strength, _squared_correlation(part, answers) - chance)
        root = (strength / strength.mean().clamp(min=1e-12) + 0.1).sqrt()
        self.scale.copy_(root / root.square().mean().sqrt() * seen.any(0))


def _squared_correlation(features: Tensor, answers: Tensor) -> Tensor:
    """r^2 of each column of (n, F) with (n,); 0 where either is constant."""
    centred = features - features.mean(0)
    deviation = answers - answers.mean()
    covariance = (centred * deviation.unsqueeze(1)).mean(0)
    variance = centred.square().mean(0) * deviation.square().mean()
    return torch.where(variance > 1e-6, covariance.square() / variance.clamp(min=1e-6), 0.0)
