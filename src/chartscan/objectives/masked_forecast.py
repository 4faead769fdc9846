"""Pretraining of series models: the value of each variable that the next hours measure.

The masked mean squared error of STraTS (Tipirneni and Reddy 2022, arXiv:2107.14293, section 4.5) and HyMaTE.
What was not measured counts for nothing; which values are asked for is the batch's choice.
"""

import torch
from torch import Tensor, nn

from chartscan.batch import Loss, SeriesBatch, SeriesModel


class MaskedForecast(nn.Module):
    """A linear head for V variables; squared errors of the observed ones, summed."""

    def __init__(self, width: int, n_variables: int):
        super().__init__()
        self.linear = nn.Linear(width, n_variables)

    def forward(self, representation: Tensor) -> Tensor:
        """Expected values (..., V), scaled, from representations (..., width)."""
        forecast: Tensor = self.linear(representation)
        return forecast

    def predict(self, model: SeriesModel, batch: SeriesBatch) -> Tensor:
        """Expected values (B, V) of what comes next of each variable."""
        return self(model(batch))

    def loss(self, model: SeriesModel, batch: SeriesBatch) -> Loss:
        """Squared error over the observed values of the window."""
        if batch.forecast is None:
            raise ValueError("the batch has no forecast window")
        observed = batch.forecast.observed
        error = torch.where(observed, self.predict(model, batch).float() - batch.forecast.targets, 0.0)
        count = int(observed.sum())
        return Loss(error.square().sum(), count, count)
