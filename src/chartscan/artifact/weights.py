"""Weights as safetensors: what modules hold goes to one file, and comes back only if it is all theirs."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from chartscan.artifact.description import MODEL
from chartscan.errors import DataError


def save_weights(parts: Mapping[str, nn.Module], path: Path) -> None:
    """Writes tensors named <part>.<name>; what two parts share is written twice."""
    save_file(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in _tensors(parts).items()}, path
    )


def load_modules(
    make: Callable[[], dict[str, nn.Module]], path: Path, beside: str, device: str
) -> dict[str, nn.Module]:
    """The modules that `make` gives, with the weights of `path`, in evaluation mode, on `device`.

    DataError unless names, shapes and types are theirs; `beside` is the file that set their shapes. No random
    number of the caller is drawn: the first weights are overwritten, whatever they are.
    """
    with torch.random.fork_rng(devices=[]):
        parts = make()
    _fill(parts, path, beside)
    return {name: part.eval().to(device) for name, part in parts.items()}


def _fill(parts: Mapping[str, nn.Module], path: Path, beside: str) -> None:
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as err:
        raise DataError(f"{path} is not a file of weights.") from err
    kinds, wanted = ({n: (t.shape, t.dtype) for n, t in side.items()} for side in (found, _tensors(parts)))
    wrong = sorted({name for name, _ in kinds.items() ^ wanted.items()})
    if wrong:
        raise DataError(
            f"{path} does not fit {MODEL} and {beside}: {len(wrong)} tensors are missing, unexpected "
            f"or of another shape or type, the first is {wrong[0]}."
        )
    for part, module in parts.items():
        start = len(part) + 1
        module.load_state_dict({n[start:]: t for n, t in found.items() if n.startswith(f"{part}.")})


def _tensors(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{part}.{name}": t for part, module in parts.items() for name, t in module.state_dict().items()}
