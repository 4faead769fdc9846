"""The work of the scan bench: shapes, and inputs as a Mamba block makes them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Shape(NamedTuple):
    """B rows, L steps, E channels, N states a channel."""

    batch: int
    length: int
    channels: int = 512
    states: int = 16

    @property
    def elements(self) -> int:
        """One exponential each."""
        return self.batch * self.length * self.channels * self.states

    def __str__(self) -> str:
        return f"B{self.batch} L{self.length} E{self.channels} N{self.states}"


class Inputs(NamedTuple):
    """Of `chartscan.kernels.selective_scan`, whose docstring says what is computed from them."""

    x: Tensor  # (B, L, E)
    dt: Tensor  # (B, L, E)
    A: Tensor  # (E, N)
    B: Tensor  # (B, L, N)
    C: Tensor  # (B, L, N)
    D: Tensor  # (E,)
    z: Tensor  # (B, L, E)
    dt_bias: Tensor  # (E,)

    def to(self, dtype: torch.dtype) -> "Inputs":
        return Inputs(*(tensor.to(dtype) for tensor in self))


def random_inputs(shape: Shape, seed: int = 0) -> tuple[Inputs, Tensor]:
    """Inputs, and a gradient by the output: steps of 0.001 to 0.1, A = -1 .. -N, the rest standard normal.

    Filled in place, so that no memory is used and given back before a measurement.
    """
    g = torch.Generator().manual_seed(seed)
    b, steps, e, n = shape

    def normal(*size: int) -> Tensor:
        return torch.empty(size).normal_(generator=g)

    step = torch.empty(e).uniform_(math.log(1e-3), math.log(1e-1), generator=g).exp_()
    inputs = Inputs(
        x=normal(b, steps, e),
        dt=normal(b, steps, e),
        A=-torch.arange(1.0, n + 1).repeat(e, 1),
        B=normal(b, steps, n),
        C=normal(b, steps, n),
        D=torch.ones(e),
        z=normal(b, steps, e),
        dt_bias=step + torch.log(-torch.expm1(-step)),  # softplus(dt_bias) = step
    )
    return inputs, normal(b, steps, e)
