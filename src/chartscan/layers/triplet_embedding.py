"""Embedding of (time, variable, value) triplets."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from chartscan.batch import PAD
from chartscan.errors import ConfigError
from chartscan.kernels.products import linear

# Times as learned sine waves (after Time2Vec): what EHRMamba adds to a code for its age and time.


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


# The embedding of HyMaTE: what was measured, its value and its time, as one vector of the model's width.
# Section 3.2.1 of arXiv:2509.24118 adds the three. Beside the sum stand a concatenation and a gate of about
# as many parameters, so that they can be compared. Values come scaled, times in hours; no unit is known
# here.

Combine = Literal["sum", "concat", "gated"]
_STD = 0.5  # of each part at first: no one of them drowns the others


class ScalarEmbedding(nn.Module):
    """tanh(x w + b) W of a number x: one hidden layer, (...) -> (..., size).

    The continuous value embedding of STraTS (Tipirneni and Reddy 2022, arXiv:2107.14293, section 4.2).
    """

    def __init__(self, hidden: int, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden))
        self.bias = nn.Parameter(torch.empty(hidden).uniform_(-1, 1))
        self.project = nn.Parameter(torch.randn(size, hidden) * _STD * math.sqrt(2 / hidden))

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
            self.variables.weight *= _STD

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
