"""Features as positions within the quantile bins of the training stays: piecewise-linear encoding.

Gorishniy et al. 2022, arXiv:2203.05556. A linear map of it is a curve of each feature, which a ridge penalty
keeps smooth; nothing of the encoding itself is learned.
"""

import torch
from torch import Tensor, nn

_SPREAD = 0.05  # added to a column's SD before its root divides the column: rare columns stay small
_RAW = 0.3  # share of the feature itself beside its bins
_FEW = 20  # stays in which a feature must have been seen to have edges of its own


class QuantileBins(nn.Module):
    """F features -> each one's position in its bins and the feature itself, centred, (B, F (bins + 1))."""

    edges: Tensor
    centre: Tensor
    divisor: Tensor

    def __init__(self, features: int, bins: int):
        super().__init__()
        self.register_buffer("edges", torch.zeros(features, bins + 1))
        self.register_buffer("centre", torch.zeros(features * (bins + 1)))
        self.register_buffer("divisor", torch.ones(features * (bins + 1)))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) -> (B, F (bins + 1)). Below the lowest edge a position may go down to -1."""
        return (self._encoded(features) - self.centre) / self.divisor

    def _encoded(self, features: Tensor) -> Tensor:
        low, width = self.edges[:, :-1], self.edges.diff(dim=1)
        there = width > 1e-6
        position = torch.where(there, (features.unsqueeze(2) - low) / width.clamp(min=1e-6), 0.0)
        first, others = position[..., :1].clamp(-1, 1), position[..., 1:].clamp(0, 1)
        return torch.cat([torch.cat([first, others], 2).flatten(1), _RAW * features], 1)

    @torch.no_grad()
    def fit(self, features: Tensor, seen: Tensor) -> None:
        """Edges from the stays where a feature (n, F) was seen, centre and divisor from all of them."""
        levels = torch.linspace(0, 1, self.edges.shape[1], dtype=torch.float64)
        for column in range(features.shape[1]):
            chosen = seen[:, column] if int(seen[:, column].sum()) > _FEW else slice(None)
            self.edges[column] = torch.quantile(features[chosen, column].double(), levels).float()
        encoded = self._encoded(features)
        self.centre.copy_(encoded.mean(0))
        self.divisor.copy_((encoded.std(0, correction=0) + _SPREAD).sqrt())
