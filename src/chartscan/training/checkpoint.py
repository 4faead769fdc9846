"""Saving and resuming a training: checkpoints, identity checks, and stop signals."""

import hashlib
import random
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from chartscan import files
from chartscan.errors import ConfigError, DataError
from chartscan.kernels import described
from chartscan.training.plan import FREE_TO_CHANGE, Best, Plan, TrainConfig, uses_bf16


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
    """Restores the random generators afterwards, as if nothing had been drawn inside."""
    torch_state, plain_state = tensors(), plain()
    try:
        yield
    finally:
        restore(torch_state, plain_state)


# Checkpoints are sealed folders `step-N`: tensors in safetensors, the rest in JSON, no pickle. The newest
# undamaged one is used. Each is complete, with the best weights so far.

PREFIX, TENSORS, PLAIN = "step-", "tensors.safetensors", "state.json"


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a run is. The step alone says which batch comes next."""

    step: int = 0  # updates done
    tokens: float = 0.0  # predicted so far
    seconds: float = 0.0  # spent so far, over all sessions
    smoothed_loss: float | None = None
    evaluated_step: int = 0  # the step of the last evaluation
    best: Best = Best()


class Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint holds beside tensors."""

    state: State
    random: dict[str, Any]  # of Python and numpy
    identity: dict[str, Any]  # what must be the same to go on, see `identity`
    environment: dict[str, Any]  # what should be the same for equality to the last bit


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, read and verified."""

    path: Path
    plain: Plain
    tensors: dict[str, Tensor]  # named <group>.<name>

    def group(self, name: str) -> dict[str, Tensor]:
        """The tensors of one group, without its name."""
        return {k[len(name) + 1 :]: t for k, t in self.tensors.items() if k.startswith(f"{name}.")}


class Checkpoints:
    """The checkpoints of one run; the caller holds the run's lock."""

    def __init__(self, folder: Path, keep: int):
        self.folder, self.keep = folder, keep

    def any(self) -> bool:
        """Whether a checkpoint was ever finished here, sound or not."""
        return bool(self._paths())

    def last(self) -> Path | None:
        """The newest checkpoint, not verified."""
        paths = self._paths()
        return paths[-1] if paths else None

    def save(self, plain: Plain, groups: Mapping[str, Mapping[str, Tensor]]) -> Path:
        """A new checkpoint of `plain.state.step`; older ones beyond `keep` go afterwards."""
        path = self.folder / f"{PREFIX}{plain.state.step:08d}"
        tensors = {f"{group}.{name}": t for group, named in groups.items() for name, t in named.items()}
        with files.sealed(path) as staging:
            save_file(_storable(tensors), staging / TENSORS)
            with files.naming(staging / PLAIN):
                (staging / PLAIN).write_bytes(msgspec.json.encode(plain))
        self._prune()
        return path

    def load_newest(self) -> Checkpoint | None:
        """The newest sound checkpoint, None where there was never one; DataError where all are damaged.

        Damaged ones are renamed to `step-N.damaged` and a warning names them. What was left half-written is
        removed.
        """
        for rest in self.folder.glob(".*"):
            shutil.rmtree(rest)
        paths = self._paths()
        for path in reversed(paths):
            try:
                return _load(path)
            except DataError as err:
                _set_aside(path, err)
        if paths:
            raise DataError(f"{self.folder}: every checkpoint is damaged. Train again into another folder.")
        return None

    def _prune(self) -> None:
        for path in self._paths()[: -self.keep]:
            hidden = path.with_name(f".{path.name}.removed")
            path.rename(hidden)  # gone in one go, as a reader sees it
            shutil.rmtree(hidden)

    def _paths(self) -> list[Path]:
        """Finished checkpoints, the oldest first."""
        found = [p for p in self.folder.glob(f"{PREFIX}*") if p.name.removeprefix(PREFIX).isdigit()]
        return sorted(found, key=lambda path: int(path.name.removeprefix(PREFIX)))


def _load(path: Path) -> Checkpoint:
    files.verify(path)
    try:
        plain = msgspec.json.decode(files.read_bytes(path / PLAIN), type=Plain)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, OSError) as err:
        raise DataError(f"{path / PLAIN} is not the state of a training of this version.") from err
    return Checkpoint(path, plain, _tensors(path / TENSORS))


def _set_aside(path: Path, reason: DataError) -> None:
    warnings.warn(f"Checkpoint skipped: {reason}", stacklevel=3)
    aside = path.with_name(f"{path.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU that share no memory, as safetensors wants them."""
    return {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as err:
        raise DataError(f"{path} is not a file of tensors.") from err


def identity(
    module: nn.Module, plan: Plan, config: TrainConfig, device: torch.device, fingerprint: str
) -> dict[str, Any]:
    """Everything that decides the losses, as JSON values.

    `fingerprint` is the caller's name for the data and everything else that decides.
    """
    settings = msgspec.to_builtins(config)
    shapes = [f"{n} {tuple(p.shape)} {p.dtype} {p.requires_grad}" for n, p in module.named_parameters()]
    return {
        **{name: value for name, value in settings.items() if name not in FREE_TO_CHANGE},
        "precision": "bf16" if uses_bf16(config, device) else "fp32",
        "device": device.type,
        "data": fingerprint,
        "batches of each epoch": list(plan.sizes),
        "parameters": hashlib.sha256("\n".join(shapes).encode()).hexdigest(),
    }


def environment() -> dict[str, Any]:
    """What rounding may depend on."""
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        **described(),
    }


def check_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """ConfigError naming every part of the identity that is not as it was."""
    before, now = (msgspec.json.decode(msgspec.json.encode(side)) for side in (before, now))
    changed = [
        f"{key} was {before.get(key)!s:.80}, is {now.get(key)!s:.80}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise ConfigError(
            f"Cannot resume, the run was started differently: {'; '.join(changed)}. "
            "Resume with what it was started with, or train into another folder."
        )


def warn_if_moved(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Warn where losses may differ in their last bits from an unbroken run."""
    moved = [f"{key} was {before.get(key)}, is {now[key]}" for key in now if before.get(key) != now[key]]
    if moved:
        warnings.warn(
            f"Resumed elsewhere, losses may differ in the last bits: {'; '.join(moved)}.", stacklevel=2
        )


# SIGTERM, SIGUSR1 (a scheduler's warning) and Ctrl-C stop at a safe point; a second Ctrl-C does not wait.

_NAMES = ("SIGTERM", "SIGUSR1", "SIGINT")  # Windows has no SIGUSR1
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class Interrupted(BaseException):
    """Raised by a signal inside `at_once`; no handler for Exception catches it."""


class Interruption:
    """Whether a signal has come. Within `at_once` it comes as the exception Interrupted."""

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """For long work that may be broken off anywhere and done again."""
        self._at_once = True
        try:
            if self.requested:
                raise Interrupted
            yield
        finally:
            self._at_once = False

    def _on_signal(self, number: int, frame: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        if self._at_once:
            self._at_once = False
            raise Interrupted


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Listens to SIGNALS, as only the main thread can; elsewhere nothing ever interrupts."""
    wish = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.signal(number, wish._on_signal) for number in SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
