"""Batches of stays, and models whose right explanation is known."""

import torch
from torch import nn

from chartscan.batch import SeriesBatch

V = 5


def stays(lengths, seed=0):
    """A batch of random stays of these lengths."""
    random = torch.Generator().manual_seed(seed)
    rows, longest = len(lengths), max(lengths, default=0)
    real = torch.arange(longest) < torch.tensor(lengths, dtype=torch.int64).unsqueeze(1)
    hours = torch.rand(rows, longest, generator=random).mul(48).sort(1).values
    variables = torch.randint(1, V + 1, (rows, longest), generator=random)
    return SeriesBatch(
        hours=hours * real,
        variables=variables * real,
        values=torch.randn(rows, longest, generator=random) * real,
        lengths=torch.tensor(lengths, dtype=torch.int64),
        statics=torch.randn(rows, 2, generator=random),
        ends=torch.full((rows,), 48.0),
        labels=torch.zeros(rows, 1),
    )


WEIGHTS = torch.tensor([0.0, 2.0, -1.0, 0.5, 0.0, 3.0])  # by variable; PAD is nothing


def additive(batch):
    """Each event adds its value times the weight of its variable, whatever else there is."""
    return (WEIGHTS.to(batch.values.dtype)[batch.variables] * batch.values).sum(1) + batch.statics[:, 0]


def right_for_additive(batch):
    return WEIGHTS.to(batch.values.dtype)[batch.variables] * batch.values


class Curved(nn.Module):
    """A small network on embedded events, mean-pooled: smooth, and not additive."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = Embedding()
        self.mix = nn.Linear(4, 4)
        self.out = nn.Linear(4, 1)

    def forward(self, batch):
        x = torch.nn.functional.rms_norm(self.embedding(batch), (4,), eps=1e-5)
        real = torch.arange(x.shape[1]) < batch.lengths.unsqueeze(1)
        pooled = (torch.tanh(self.mix(x)) * real.unsqueeze(2)).sum(1) / batch.lengths.clamp(min=1).unsqueeze(
            1
        )
        return self.out(torch.tanh(3 * pooled)).squeeze(1)


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(V + 1, 4)
        self.value = nn.Linear(1, 4)

    def forward(self, batch):
        return self.table(batch.variables) + self.value(batch.values.unsqueeze(2))
