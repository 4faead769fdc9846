"""What several kernels share: step sizes, gates, loads, one step of the recurrence."""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def sigmoid(x):
    e = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


@triton.jit
def softplus(x):
    """Return log(1 + exp(x)), as exact as float32 even for small results.

    log(1 + e) = 2 artanh(e / (2 + e)), a series. The argument of artanh is at most 1/3, so the first term
    left out is below 2e-9 of the result.
    """
    e = tl.exp(-tl.abs(x))
    s = e / (2.0 + e)
    q = s * s
    series = 1 / 13 + q * (1 / 15)
    series = 1 / 9 + q * (1 / 11 + q * series)
    series = 1 / 5 + q * (1 / 7 + q * series)
    series = 1.0 + q * (1 / 3 + q * series)
    return tl.maximum(x, 0.0) + 2.0 * s * series


@triton.jit
def steps_of(lengths, row, steps):
    """Return a row's steps before padding; lengths out of range are clipped."""
    length = tl.cast(steps, tl.int32)
    if lengths is not None:
        length = tl.minimum(tl.maximum(tl.load(lengths + row), 0), steps).to(tl.int32)
    return length


@triton.jit
def load_steps(at, stride, offsets, mask, left, STEPS: tl.constexpr):
    """Load the next STEPS steps from `at`, float32; zero from step `left` on."""
    loaded = ()
    for t in tl.static_range(STEPS):
        value = tl.load(at + t * stride + offsets, mask=mask & (t < left), other=0.0)
        loaded = loaded + (value.to(tl.float32),)
    return loaded


@triton.jit
def step_sizes(raw, bias, left, STEPS: tl.constexpr):
    """Return softplus(dt + bias) of steps; zero from `left` on, where states stay."""
    sizes = ()
    for t in tl.static_range(STEPS):
        sizes = sizes + (tl.where(t < left, softplus(raw[t] + bias), 0.0),)
    return sizes


@triton.jit
def decay_of(delta, a):
    """Return exp(delta a) (N, E) from delta (E,) and a (N, E)."""
    return tl.exp2((delta * LOG2_E)[None, :] * a)


@triton.jit
def after_step(h, decay, delta, x, b):
    """The state (N, E) after a step: decay (N, E), delta and x (E,), b (N,)."""
    return decay * h + (delta * x)[None, :] * b[:, None]
