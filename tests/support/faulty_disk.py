"""A disk that fails at one chosen call: in Python's and Arrow's ways to files, and in those of weights."""

import builtins
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors
from safetensors import SafetensorError

ERRORS = (errno.ENOSPC, errno.EACCES, errno.EIO)
# (module, name) of what reads and writes weights: native code, which names no file in what it raises
WEIGHTS = (
    ("chartscan.artifact.weights", "save_file", 1),
    ("chartscan.artifact.weights", "load_file", 0),
    ("chartscan.artifact.weights", "safe_open", 0),
    ("chartscan.training.checkpoint", "save_file", 1),
    ("chartscan.training.checkpoint", "load_file", 0),
)


class Disk:
    """Counts calls that concern files below `root`; the `fatal` one fails as the system would tell it, with a
    name where the call has one."""

    def __init__(self, root: Path, fatal: int = 0, number: int = errno.ENOSPC):
        self.calls = 0
        self.what, self.path = "", Path()  # of the call that failed
        self._root, self._fatal, self._number = root.resolve(), fatal, number
        self._removing = False

    def call(
        self, what: str, name: object, error: Callable[..., Exception] = OSError, told: bool = True
    ) -> None:
        """One call on the file `name` (a path or a descriptor); `told`: the error names it."""
        path = self._path(name)
        if self._removing or path is None or not path.is_relative_to(self._root):
            return
        self.calls += 1
        if self.calls == self._fatal:
            self.what, self.path = what, path
            if error is not OSError:
                raise error(f"I/O error: {os.strerror(self._number)} (os error {self._number})")
            raise OSError(self._number, os.strerror(self._number), *([os.fsdecode(name)] if told else []))  # type: ignore[arg-type]

    @staticmethod
    def _path(name: object) -> Path | None:
        if isinstance(name, int):
            try:
                return Path(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                return None
        return (
            Path(os.path.abspath(os.fsdecode(name))) if isinstance(name, str | bytes | os.PathLike) else None
        )

    @contextmanager
    def removing(self) -> Iterator[None]:
        """Within, calls do not count: what cannot be removed is left behind."""
        before, self._removing = self._removing, True
        try:
            yield
        finally:
            self._removing = before


@contextmanager
def failing(disk: Disk) -> Iterator[None]:
    """All calls through `disk`."""
    real_open = io.open

    class Raw(io.FileIO):
        def write(self, data: Any, /) -> int:
            disk.call("write", self.fileno(), told=False)
            return super().write(data)

        def readall(self) -> bytes:
            disk.call("read", self.fileno(), told=False)
            return super().readall()

        def readinto(self, buffer: Any, /) -> int | None:
            disk.call("read", self.fileno(), told=False)
            return super().readinto(buffer)

    def opened(name: Any, mode: str = "r", buffering: int = -1, *args: Any, **named: Any) -> Any:
        if not isinstance(name, int) and named.get("opener") is None:
            disk.call("open", name)
        if "+" in mode or buffering == 0:
            return real_open(name, mode, buffering, *args, **named)
        raw = Raw(name, mode.replace("b", "").replace("t", ""), opener=named.get("opener"))
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        whole = io.BufferedReader(raw, size) if "r" in mode else io.BufferedWriter(raw, size)
        return whole if "b" in mode else io.TextIOWrapper(whole, named.get("encoding"))

    def counted(of: Any, name: str, told: bool = True) -> Callable[..., Any]:
        real = getattr(of, name)

        def call(*args: Any, **named: Any) -> Any:
            disk.call(name, args[0] if args else ".", told=told)
            return real(*args, **named)

        return call

    def native(real: Any, name: str, at: int) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            disk.call(name, args[at], SafetensorError)
            return real(*args, **named)

        return call

    def removing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            with disk.removing():
                return real(*args, **named)

        return call

    class Writer(pq.ParquetWriter):
        def __init__(self, where: Any, *args: Any, **named: Any):
            self._where = where
            disk.call("Arrow's open", where, told=False)
            super().__init__(where, *args, **named)

        def write_table(self, *args: Any, **named: Any) -> None:
            disk.call("Arrow's write", self._where, told=False)
            super().write_table(*args, **named)

    class Reader(pq.ParquetFile):
        def __init__(self, source: Any, *args: Any, **named: Any):
            self._source = getattr(source, "_path", source)
            super().__init__(source, *args, **named)

        def read(self, *args: Any, **named: Any) -> pa.Table:
            disk.call("Arrow's read", self._source, told=False)
            return super().read(*args, **named)

    def arrow_file(path: str, *args: Any) -> pa.OSFile:
        disk.call("Arrow's open", path, told=False)
        return pa_file(path, *args)

    pa_file = pa.OSFile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        patch.setattr(pq, "ParquetWriter", Writer)
        patch.setattr(pq, "ParquetFile", Reader)
        patch.setattr(pa, "OSFile", arrow_file)
        patch.setattr(shutil, "rmtree", removing(shutil.rmtree))
        for name in ("open", "rename", "replace", "mkdir", "link", "listdir", "scandir"):
            patch.setattr(os, name, counted(os, name))
        for name in ("fsync", "ftruncate", "pwrite", "pread"):
            patch.setattr(os, name, counted(os, name, told=False))
        for module, name, at in WEIGHTS:
            real = getattr(safetensors if name == "safe_open" else safetensors.torch, name)
            patch.setattr(f"{module}.{name}", native(real, name, at))
        yield
