"""One run at a time per output: a lock file freed by the system."""

import errno
import os
import re
import socket
import stat
from contextlib import suppress
from pathlib import Path

from filelock import lock_descriptor

from chartscan.errors import ConfigError
from chartscan.files import AS_IT_IS, WINDOWS, owned

_HOLDER = re.compile(rb"(\d+ on [^\n]*)?")  # what a lock file holds


class OutputLock:
    """Holds `<out>.lock` from `acquire` to `release`, or as a context. The file names the process."""

    def __init__(self, out: Path):
        self._out = out
        self._path = out.with_name(out.name + ".lock")
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise ConfigError at once, naming the process that has it."""
        while self._handle is None:
            handle = self._open()
            if not _take(handle):
                holder = _content(handle).decode(errors="replace").strip() or "unknown"
                os.close(handle)
                raise ConfigError(
                    f"{self._out} is in use by another run (process {holder}). Wait for it to end, or "
                    "choose another output folder."
                )
            if _same_file(handle, self._path):
                self._handle = handle
            else:  # the last holder removed the file between our open and our lock: take the new one
                os.close(handle)
        try:
            os.ftruncate(self._handle, 0)
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, f"{os.getpid()} on {socket.gethostname()}".encode())
        except OSError as err:  # the disk is full, say
            self.release()
            raise OSError(err.errno, err.strerror, str(self._path)) from err

    def _open(self) -> int:
        """The file, made where it is missing. ConfigError where it is no lock of ours: it is not touched."""
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | AS_IT_IS, 0o600)
        except OSError as err:
            if err.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
                raise self._not_ours() from None
            raise
        about = os.fstat(handle)
        single = stat.S_ISREG(about.st_mode) and about.st_nlink <= 1 and owned(about)
        try:
            if single and _HOLDER.fullmatch(_content(handle)):
                return handle
        except OSError as err:
            self._remove_if_free(handle)
            os.close(handle)
            raise OSError(err.errno, err.strerror, str(self._path)) from err
        os.close(handle)
        raise self._not_ours()

    def _remove_if_free(self, handle: int) -> None:
        """Removes the file, which cannot be read, unless another run holds its lock."""
        with suppress(OSError):
            if lock_descriptor(handle, blocking=False) and _same_file(handle, self._path):
                self._path.unlink()

    def _not_ours(self) -> ConfigError:
        return ConfigError(
            f"{self._path} is in the way of the lock: a symbolic link, a file of another user, or one that "
            "is no lock. It is not touched. Move it, or choose another output."
        )

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._handle is not None:
            if not WINDOWS:  # while it is held: the next run takes a new file
                self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None
            if WINDOWS:  # refused where the next run has opened it
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)

    def __enter__(self) -> "OutputLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _take(handle: int) -> bool:
    """Whether the lock of an open file is now ours. The handle is closed on an error."""
    try:
        return lock_descriptor(handle, blocking=False)
    except OSError:
        os.close(handle)
        raise


def _content(handle: int) -> bytes:
    """The first 300 bytes of a lock file. Windows lets only the holder read it: empty for others."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        return os.read(handle, 300)
    except PermissionError:
        return b""


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
