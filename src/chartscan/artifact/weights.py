"""Weights of modules as one safetensors file, checked when they are loaded."""

import errno
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from chartscan.artifact.description import MODEL
from chartscan.errors import DataError

Kind: TypeAlias = tuple[tuple[int, ...], torch.dtype | None]  # shape and type of a tensor
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_MARGIN = 1 << 26  # numbers that a model may have beside those it saves, such as BigBird's random blocks


def save_weights(parts: Mapping[str, nn.Module], path: Path) -> None:
    """Writes tensors named <part>.<name>; what two parts share is written twice."""
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in _tensors(parts).items()}
    try:
        save_file(tensors, path)
    except SafetensorError as err:  # says what the disk said, without the file
        raise OSError(errno.EIO, f"weights cannot be written: {err}", str(path)) from err


def load_modules(
    make: Callable[[], dict[str, nn.Module]], path: Path, beside: str, device: str
) -> dict[str, nn.Module]:
    """The modules that `make` gives, with the weights of `path`, in evaluation mode, on `device`.

    DataError unless names, shapes and types are theirs and all numbers finite; `beside` is the file that set
    their shapes. What `make` would build is compared with the head of the file before any memory is taken for
    it. No random number of the caller is drawn: the first weights are overwritten.
    """
    there = _header(path)
    try:
        with torch.device("meta"), _no_more_than(there):
            wanted = {name: _kind(tensor) for name, tensor in _tensors(make()).items()}
    except (_TooMuch, RuntimeError, OverflowError, TypeError) as err:  # as torch says of impossible sizes
        raise DataError(f"{path} does not fit {MODEL} and {beside}: the model would be larger.") from err
    wrong = sorted({name for name, _ in there.items() ^ wanted.items()})
    if wrong:
        raise DataError(
            f"{path} does not fit {MODEL} and {beside}: {len(wrong)} tensors are missing, unexpected "
            f"or of another shape or type, the first is {wrong[0]}."
        )
    with torch.random.fork_rng(devices=[]):
        parts = make()
    _fill(parts, path)
    return {name: part.eval().to(device) for name, part in parts.items()}


def _header(path: Path) -> dict[str, Kind]:
    """Name, shape and type of every tensor in `path`, from its head alone."""
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return {name: (tuple(s.get_shape()), _DTYPES.get(s.get_dtype())) for name, s in slices.items()}
    except (SafetensorError, OSError) as err:
        raise DataError(f"{path} is not a file of weights.") from err


class _TooMuch(Exception):
    """More is being built than the file could fill."""


@contextmanager
def _no_more_than(there: Mapping[str, Kind]) -> Iterator[None]:
    """Within, modules that register more tensors, or more numbers, than `there` raise _TooMuch.

    A model may also have modules without tensors, and tensors that are shared or not saved: hence the margin.
    """
    left = {
        "tensors": 2 * len(there) + 100,
        "numbers": 2 * sum(math.prod(shape) for shape, _ in there.values()),
    }
    left["numbers"] += _MARGIN
    left["modules"] = 20 * left["tensors"]

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is not None:
            take("tensors", 1)
            take("numbers", tensor.numel())

    def take(what: str, amount: int) -> None:
        left[what] -= amount
        if left[what] < 0:
            raise _TooMuch(what)

    hooks = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
        register_module_module_registration_hook(lambda *_: take("modules", 1)),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _fill(parts: Mapping[str, nn.Module], path: Path) -> None:
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as err:
        raise DataError(f"{path} is not a file of weights.") from err
    broken = [name for name, tensor in sorted(found.items()) if not torch.isfinite(tensor).all()]
    if broken:
        raise DataError(
            f"{path}: {len(broken)} tensors contain numbers that are not finite, first {broken[0]}."
        )
    for part, module in parts.items():
        start = len(part) + 1
        module.load_state_dict({n[start:]: t for n, t in found.items() if n.startswith(f"{part}.")})


def _kind(tensor: Tensor) -> Kind:
    return tuple(tensor.shape), tensor.dtype


def _tensors(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{part}.{name}": t for part, module in parts.items() for name, t in module.state_dict().items()}
