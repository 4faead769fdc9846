"""The random generators that a loss may draw from: as tensors and JSON, and back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def tensors() -> dict[str, Tensor]:
    """State of torch's generators, on the CPU and every visible GPU."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state |= {f"cuda.{i}": torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())}
    return state


def plain() -> dict[str, Any]:
    """State of the generators of Python and numpy, as JSON values."""
    state: Any = np.random.get_state(legacy=True)
    name, keys, position, has_gauss, gauss = state
    return {"python": random.getstate(), "numpy": [name, keys.tolist(), position, has_gauss, gauss]}


def restore(torch_state: dict[str, Tensor], plain_state: dict[str, Any]) -> None:
    """Sets the generators to what `tensors` and `plain` gave."""
    torch.set_rng_state(torch_state["cpu"])
    for name, state in torch_state.items():
        if name.startswith("cuda."):
            torch.cuda.set_rng_state(state, int(name.removeprefix("cuda.")))
    version, internal, gauss = plain_state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = plain_state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside, the generators go on afterwards as if nothing had been drawn."""
    torch_state, plain_state = tensors(), plain()
    try:
        yield
    finally:
        restore(torch_state, plain_state)
