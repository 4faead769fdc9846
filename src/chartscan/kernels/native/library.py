"""Finds the compiled extension, and says why where there is none.

The extension is optional: without a C++ compiler the package installs without it, and the scan runs in plain
PyTorch. `CHARTSCAN_NATIVE` names another build of it (a path, as `make sanitize` does) or switches it off
(`off`). Nothing is loaded at import.
"""

import hashlib
import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol, cast

SOURCES = Path(__file__).parent / "src"  # absent in an installed wheel
SUFFIXES = (".cpp", ".h", ".inc")
NAME = "chartscan.kernels.native._native"
REMEDY = (
    "Install a C++17 compiler (g++, clang or MSVC) and then chartscan again: `make native`, or "
    "`pip install -v --no-cache-dir --force-reinstall`"
)


class Library(Protocol):
    """The extension, src/module.cpp. `fields` are those of a struct in src/arguments.h, in order."""

    ARGUMENTS: str  # which arguments.h it was built with
    SOURCES: str  # and which sources

    def scan_forward(self, fields: tuple[int, ...], /) -> None: ...
    def scan_backward(self, fields: tuple[int, ...], /) -> None: ...
    def conv_forward(self, fields: tuple[int, ...], /) -> None: ...
    def conv_backward(self, fields: tuple[int, ...], /) -> None: ...
    def stack_step(self, fields: tuple[int, ...], /) -> None: ...
    def isas(self) -> list[str]: ...
    def isa(self) -> str: ...
    def set_isa(self, name: str, /) -> None: ...
    def runtime(self) -> str: ...
    def fma_peak(self, threads: int, milliseconds: int, /) -> float: ...


class Found(NamedTuple):
    """The extension, or why it cannot be used; both if it is outdated."""

    library: Library | None
    problem: str | None
    remedy: str = REMEDY


def available() -> bool:
    """Whether the native kernels can be used."""
    return _found().library is not None


def why_not() -> str | None:
    """The reason why the native kernels cannot be used, or None."""
    return None if available() else _found().problem


def library() -> Library:
    """The extension module. Raises RuntimeError with the reason where it cannot be used."""
    found = _found()
    if found.library is None:
        raise RuntimeError(f"The native kernels cannot be used: {found.problem}. {found.remedy}")
    return found.library


def warn_once() -> None:
    """Warn once a process where native kernels are missing or outdated (RuntimeWarning)."""
    message = warning()
    if message is not None and not _warned:
        _warned.append(message)
        warnings.warn(message, RuntimeWarning, stacklevel=3)


_warned: list[str] = []


def warning() -> str | None:
    found = _found()
    if found.problem is None:
        return None
    cost = "they may be wrong" if found.library else "the scan runs in plain PyTorch, 6 to 10 times slower"
    verb = "are outdated" if found.library else "are not used"
    return f"The native kernels {verb}: {found.problem}; {cost}. {found.remedy}"


@cache
def _found() -> Found:
    wanted = os.environ.get("CHARTSCAN_NATIVE", "")
    if wanted == "off":
        return Found(None, "CHARTSCAN_NATIVE=off", "Unset it to use them.")
    try:
        module = _load(Path(wanted)) if wanted else importlib.import_module(NAME)
    except ModuleNotFoundError:
        return Found(None, "the extension was not built")
    except (ImportError, OSError) as error:
        return Found(None, f"the extension cannot be loaded ({error})")
    return _checked(cast(Library, module))


def _load(path: Path) -> ModuleType:
    """The extension at `path`, under its usual name."""
    spec = importlib.util.spec_from_file_location(NAME, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no extension module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _checked(module: Library) -> Found:
    """Refuses an extension whose structs are not those that Python fills; notes one of older sources."""
    if not SOURCES.exists():
        return Found(module, None)
    if digest([SOURCES / "arguments.h"]) != module.ARGUMENTS:
        return Found(
            None, "the extension was built from another version of arguments.h", "Run `make native`."
        )
    if digest(source_files()) != module.SOURCES:
        return Found(
            module, "the extension was built from other sources than those here", "Run `make native`."
        )
    return Found(module, None)


def source_files() -> list[Path]:
    return sorted(file for file in SOURCES.iterdir() if file.suffix in SUFFIXES)


def digest(files: list[Path]) -> str:
    """Names the content of `files`; a C identifier. setup.py computes the same."""
    return "sha_" + hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def builds() -> list[str]:
    """Instruction sets that this machine can run, best first; empty without the native kernels."""
    return library().isas() if available() else []


@contextmanager
def build(name: str) -> Iterator[None]:
    """Inside, the kernels as built for the instruction set `name` run, for tests and measurements."""
    before = library().isa()
    library().set_isa(name)
    try:
        yield
    finally:
        library().set_isa(before)
