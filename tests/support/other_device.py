"""Another device that every machine has, to see that nothing is computed across two.

Tensors that say they are on it are kept on the CPU, and meet no tensor that was left there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = "xla:0"  # a device that PyTorch knows by name and asks nothing of
INSIDE = "meta"  # to PyTorch's own code, which expects a driver of any other device


class Elsewhere(Tensor):
    """A tensor on the other device; `held` is what it holds."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        found = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=INSIDE
        )
        found.held = held
        return found

    @property
    def device(self) -> torch.device:
        return torch.device(NAME)

    def __getitem__(self, index: Any) -> Tensor:
        parts = index if isinstance(index, tuple) else (index,)  # PyTorch moves lists to the device itself
        return super().__getitem__(
            tuple(Elsewhere(torch.tensor(one)) if isinstance(one, list) else one for one in parts)
        )

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


class _OtherDevice(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _computed(func, args, kwargs or {})


@contextmanager
def other_device() -> Iterator[str]:
    """The name of a device that is there as long as this lasts."""
    with _OtherDevice():
        yield NAME


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What `func` gives, on the device where its tensors are or where it is sent."""
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    away = any(isinstance(leaf, Elsewhere) for leaf in leaves)
    to = kwargs.get("device")
    if to is None and away and func is not torch.ops.aten.index_put_.default:
        left = [leaf for leaf in leaves if not isinstance(leaf, Elsewhere) and leaf.ndim]
        assert not left, f"{func} was given tensors of two devices"
    if to is not None:
        away = torch.device(to) in (torch.device(NAME), torch.device(INSIDE))
        kwargs = kwargs | {"device": torch.device("cpu")}
    found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if not away:
        return found
    wrapped = tree_map(lambda one: Elsewhere(one) if isinstance(one, Tensor) else one, found)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value
