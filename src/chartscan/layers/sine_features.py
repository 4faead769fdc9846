"""Times as learned sine waves (after Time2Vec): what EHRMamba adds to a code for its age and time."""

import math

import torch
from torch import Tensor, nn


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
