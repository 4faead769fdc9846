"""Embeddings: each token or measurement as one vector of the model's width.

Tokens: Fallahpour et al. 2024, eq. 1 and appendix C.2. Code, time and age are joined and projected; type,
segment and visit order are added, and for the transformers the position. Beside the time since the first
event stands the gap since the last one, which the released code uses in its place.

Triplets: section 3.2.1 of HyMaTE (arXiv:2509.24118) adds variable, value and time. Beside the sum stand a
concatenation and a gate of about as many parameters, so that they can be compared. Values come scaled, times
in hours; no unit is known here.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from chartscan.batch import PAD, Batch
from chartscan.errors import ConfigError
from chartscan.kernels.products import linear

Combine = Literal["sum", "concat", "gated"]
_TRIPLET_STD = 0.5  # of each part at first: no one of them drowns the others
_STD = 0.1  # of each summand before the norm: no one of them drowns the others at first


class SineFeatures(nn.Module):
    """sin(x w + phi) with learned w and phi: (...,) -> (..., size).

    At first the waves have periods from `shortest` to `longest` (in the units of x), evenly on a log scale,
    and random phases. The released code draws w from a Xavier normal instead, which for times in weeks
    leaves no wave longer than a month or so.
    """

    def __init__(self, size: int, shortest: float, longest: float):
        super().__init__()
        periods = torch.logspace(math.log10(shortest), math.log10(longest), size)
        self.frequency = nn.Parameter(2 * math.pi / periods)
        self.phase = nn.Parameter(2 * math.pi * torch.rand(size))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # thousands of weeks need more than bf16's 8 bits
            return torch.sin(torch.addcmul(self.phase, x.float().unsqueeze(-1), self.frequency))


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


class ScalarEmbedding(nn.Module):
    """tanh(x w + b) W of a number x: one hidden layer, (...) -> (..., size).

    The continuous value embedding of STraTS (Tipirneni and Reddy 2022, arXiv:2107.14293, section 4.2).
    """

    def __init__(self, hidden: int, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden))
        self.bias = nn.Parameter(torch.empty(hidden).uniform_(-1, 1))
        self.project = nn.Parameter(torch.randn(size, hidden) * _TRIPLET_STD * math.sqrt(2 / hidden))

    def forward(self, x: Tensor) -> Tensor:
        return linear(torch.tanh(x.unsqueeze(-1) * self.weight + self.bias), self.project)


class TripletEmbedding(nn.Module):
    """Vectors (..., D) of triplets: hours (...), variables (...) of 1 .. V, scaled values (...).

    sum     e_f + e_v + e_t, with a hidden layer of floor(sqrt(D)) units for value and for time
    concat  [e_f; e_v; e_t], of D/2, D/4 and D/4 numbers
    gated   e_f (1 + g) + b, where value and time give g and b (FiLM; Perez et al. 2018, arXiv:1709.07871)

    The hidden layers of concat and gated are as wide as makes the number of parameters that of the sum, to
    the nearest unit. `use_value` and `use_time` leave one of them out (ablation). Hours of 0 .. `span_hours`
    are scaled to -1 .. 1, as in the released code. Padding becomes a vector without meaning.
    """

    def __init__(
        self,
        n_variables: int,
        width: int,
        combine: Combine = "sum",
        span_hours: float = 48.0,
        use_value: bool = True,
        use_time: bool = True,
    ):
        super().__init__()
        if combine not in get_args(Combine):
            raise ConfigError(f"model.combine is {combine!r}; expected {', '.join(get_args(Combine))}.")
        self.combine, self.span_hours = combine, span_hours
        scalars = use_value + use_time
        size = {"sum": width, "concat": width // 4, "gated": 2 * width}[combine]
        lookup = width - scalars * size if combine == "concat" else width
        units = scalars * math.isqrt(width)  # of the sum
        if combine != "sum" and scalars:
            budget = (n_variables + 1) * (width - lookup) + units * (width + 2)
            units = max(round(budget / (size + 2)), scalars)
        self.variables = nn.Embedding(n_variables + 1, lookup, padding_idx=PAD)
        self.values = ScalarEmbedding(math.ceil(units / scalars), size) if use_value else None
        self.times = ScalarEmbedding(units // scalars, size) if use_time else None
        with torch.no_grad():
            self.variables.weight *= _TRIPLET_STD

    def forward(self, hours: Tensor, variables: Tensor, values: Tensor) -> Tensor:
        of_variable = self.variables(variables)
        of_scalars = []
        if self.values is not None:
            of_scalars.append(self.values(values))
        if self.times is not None:
            of_scalars.append(self.times(hours * (2 / self.span_hours) - 1))
        if self.combine == "concat":
            return torch.cat([of_variable, *of_scalars], -1)
        if self.combine == "sum" or not of_scalars:
            return sum(of_scalars, start=of_variable)
        gate, shift = sum(of_scalars[1:], start=of_scalars[0]).chunk(2, -1)
        return torch.addcmul(of_variable + shift, of_variable, gate)
