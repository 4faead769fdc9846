"""One run at a time on one output: a lock file beside it that the system frees when its holder dies."""

import fcntl
import os
import socket
from pathlib import Path

from chartscan.errors import ConfigError


class OutputLock:
    """Holds `<out>.lock` from `acquire` to `release`, or as a context. The file names the process."""

    def __init__(self, out: Path):
        self._out = out
        self._path = out.with_name(out.name + ".lock")
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise ConfigError at once, naming the process that has it."""
        while self._handle is None:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "unknown"
                os.close(handle)
                raise ConfigError(
                    f"{self._out} is in use by another run (process {holder}). Wait for it to end, or "
                    "choose another output folder."
                ) from None
            if _same_file(handle, self._path):
                self._handle = handle
            else:  # the last holder removed the file between our open and our lock: take the new one
                os.close(handle)
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._handle is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> "OutputLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
