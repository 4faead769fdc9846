"""The embedding of every model of tokens: what is known of each token, as one vector of the model's width.

Fallahpour et al. 2024, eq. 1 and appendix C.2: code, time and age are joined and projected, type, segment
and visit order are added, and for the transformers the position. Beside the time since the first event stands
the gap since the last one, which the released code uses in its place.
"""

import math

import torch
from torch import Tensor, nn

from chartscan.batch import PAD, Batch
from chartscan.errors import ConfigError
from chartscan.kernels.products import linear
from chartscan.layers.triplet_embedding import SineFeatures

_STD = 0.1  # of each summand before the norm: no one of them drowns the others at first


class EventEmbedding(nn.Module):
    """LayerNorm(Dropout(tanh(W [code; time; gap; age]) + type + segment + visit order)), (B, L, D).

    Where `batch.attributed` is false, time, gap, age, segment and visit order are zero vectors. Padding
    becomes the zero vector. Every position depends on its own token alone. With a `context`, a learned vector
    of the position is added to every token, and longer rows are refused; without, the order of tokens is for
    the layers above to know.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        n_types: int,
        max_visits: int,
        time_size: int,
        dropout: float,
        context: int | None = None,
    ):
        super().__init__()
        self.codes = nn.Embedding(vocab_size, width)
        self.types = nn.Embedding(n_types, width)
        self.segments = nn.Embedding(3, width)
        self.visit_orders = nn.Embedding(max_visits, width)
        self.times = SineFeatures(time_size, shortest=0.1, longest=5000)  # weeks
        self.gaps = SineFeatures(time_size, shortest=0.01, longest=500)  # weeks
        self.ages = SineFeatures(time_size, shortest=1, longest=200)  # years
        self.project = nn.Linear(width + 3 * time_size, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self._initialise(width, 3 * time_size)
        self.positions: nn.Embedding | None = None
        if context is not None:
            self.positions = nn.Embedding(context, width)
            nn.init.normal_(self.positions.weight, std=_STD)

    def _initialise(self, width: int, sines: int) -> None:
        for table in (self.codes, self.types, self.segments, self.visit_orders):
            nn.init.normal_(table.weight, std=_STD)
        nn.init.normal_(self.project.weight[:, :width], std=1 / math.sqrt(width))
        nn.init.normal_(self.project.weight[:, width:], std=_STD * math.sqrt(2 / sines))
        nn.init.zeros_(self.project.bias)

    def forward(self, batch: Batch) -> Tensor:
        attributed = batch.attributed.unsqueeze(-1)  # (B, L, 1)
        sines = torch.cat([self.times(batch.times), self.gaps(batch.gaps), self.ages(batch.ages)], -1)
        joined = torch.cat([self.codes(batch.codes), sines * attributed], -1)  # (B, L, D + 3 time_size)
        visit = self.segments(batch.segments) + self.visit_orders(batch.visit_orders)
        projected = linear(joined, self.project.weight, self.project.bias)
        summed = torch.tanh(projected) + self.types(batch.types) + visit * attributed
        if self.positions is not None:
            summed = summed + self._embedded_positions(self.positions, batch)
        return self.norm(self.dropout(summed)) * (batch.codes != PAD).unsqueeze(-1)

    def _embedded_positions(self, table: nn.Embedding, batch: Batch) -> Tensor:
        """(B, L, D); ConfigError where a row has more tokens than there are positions."""
        length, context = batch.codes.shape[1], table.num_embeddings
        if length > context:
            raise ConfigError(
                f"A row has {length} tokens and the model a context of {context}. Set reader.context to "
                f"{context} or less, or raise model.context before training."
            )
        positions: Tensor = table(batch.positions)
        return positions
