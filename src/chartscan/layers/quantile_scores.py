"""Features of unlike scales and tails as normal scores: by their rank among the training stays.

The knots are quantiles of the training stays, so that nothing has to be learned of them and no unit matters.
Features that alone tell more of the outcome may be given a larger scale, so that a ridge penalty or a short
training spends itself on them first.
"""

import torch
from torch import Tensor, nn

KNOTS = 65
_EXTREME = 0.002  # levels of the outermost knots are this far from 0 and 1


class QuantileScores(nn.Module):
    """F features -> their normal scores z beside (z^2 - 1) / sqrt 2, (B, 2 F); 0 and 0 where not seen.

    Between knots scores are interpolated, beyond the outermost they stay; a value that many stays share has
    the middle of the scores of its lowest and highest knots. Before `fit` everything is 0.
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
        """Knots from the stays where a feature (n, F) was seen, scales from how it goes with `labels` (n, T).

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
