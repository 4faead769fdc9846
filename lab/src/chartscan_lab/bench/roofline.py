"""The time below which no scan of this kind can fall on this machine, from what a scan must do at least.

Both limits are measured here and now: multiply-adds a second by the native library, bytes a second by a copy.
The floor is the larger of the two times. It is the floor of this algorithm (one exponential an element), not
of the problem.
"""

import time
from typing import NamedTuple

import torch

from chartscan.kernels import native
from chartscan_lab.bench.scan_inputs import Shape
from chartscan_lab.bench.timing import Clock

# Vector instructions that occupy a multiplier (multiply, multiply-add, divide, scale by a power of two), as
# the AVX-512 kernels need them. Additions, minima, permutations and integer work are left out: other units of
# this processor do them.
#
# The recurrence, for one element (b, l, e, n):
_EXP = 1 + 1 + 4 + 1  # delta A, its distance from the nearest sixteenth, polynomial and table, power of two
FORWARD = _EXP + 1 + 1 + 1  # delta x B; decay h + that; C h summed over states
# Backward: the same ten anew (the gate's gradient needs y); then eight:
#   g += C dy; dC += h dy; dB += delta x g; B g; decay g; that times h before; dA += delta that; sum of A that
BACKWARD = FORWARD + 8

# What is fused with it, for one element (b, l, e):
_SOFTPLUS = _EXP + 1 + 6  # log(1 + u) as a quotient and a polynomial of degree 4 of its square
_SIGMOID = _EXP + 1
FORWARD_FUSED = _SOFTPLUS + 2 + _SIGMOID + 2  # delta x, D x; z sigmoid, y times that
# Backward: softplus and its slope, delta x, D x; gate, its slope and what they multiply; dx, ddt, dz, dD
BACKWARD_FUSED = _SOFTPLUS + 2 + 2 + _SIGMOID + 4 + 7

FLOAT = 4  # bytes
KEPT_STEPS = 32  # a state is kept before each such stretch of steps


class Rates(NamedTuple):
    """What the machine can do with the threads given."""

    multiply_adds: float | None  # float lanes a second; None without the native library
    bytes: float  # read and written, a second


class Floor(NamedTuple):
    """Least times by one limit each; `recurrence_seconds` is that part of `compute_seconds`."""

    compute_seconds: float | None
    recurrence_seconds: float | None
    memory_seconds: float

    @property
    def seconds(self) -> float:
        return max(self.compute_seconds or 0.0, self.memory_seconds)


def floor(shape: Shape, rates: Rates, backward: bool) -> Floor:
    """The least seconds of a forward pass, or where `backward` of a forward and a backward pass."""
    recurrence = (FORWARD + BACKWARD if backward else FORWARD) * shape.elements
    fused = FORWARD_FUSED + BACKWARD_FUSED if backward else FORWARD_FUSED
    whole = recurrence + fused * shape.elements // shape.states
    memory = traffic(shape, backward) / rates.bytes
    if not rates.multiply_adds:
        return Floor(None, None, memory)
    return Floor(whole / rates.multiply_adds, recurrence / rates.multiply_adds, memory)


def traffic(shape: Shape, backward: bool) -> int:
    """Bytes that must be read or written: each sequence once a pass, and the states kept between passes."""
    wide, narrow = shape.batch * shape.length * shape.channels, shape.batch * shape.length * shape.states
    floats = 4 * wide + 2 * narrow  # x, dt, z, y; B, C
    if backward:
        floats += 7 * wide + 4 * narrow  # x, dt, z, dy, dx, ddt, dz; B, C, dB, dC
        floats += 2 * shape.batch * -(-shape.length // KEPT_STEPS) * shape.channels * shape.states
    return FLOAT * floats


def multiply_adds(threads: int, clock: Clock, milliseconds: int = 40) -> float:
    """Multiply-adds a second of `clock`, in float lanes of all threads, by the native library.

    The library goes by wall time; the work done is turned into a rate by the clock that times the scan.
    """
    rates: list[float] = []
    started = time.perf_counter()
    seconds = clock.seconds(lambda: rates.append(native.library().fma_peak(threads, milliseconds)))
    return rates[0] * (time.perf_counter() - started) / seconds


class Copy:
    """A copy too large for any cache; `bytes` are those read and those written."""

    def __init__(self, floats: int = 2**25):
        self.bytes = 2 * FLOAT * floats
        self._source, self._target = torch.ones(floats), torch.empty(floats)

    def __call__(self) -> None:
        self._target.copy_(self._source)
