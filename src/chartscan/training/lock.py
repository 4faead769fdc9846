"""One run folder, one training: a lock that the system drops when its process dies, however it dies."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chartscan.errors import ConfigError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder` alone; ConfigError naming host and process where another training does."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            holder = os.read(descriptor, 1000).decode(errors="replace").strip() or "another process"
            raise ConfigError(
                f"{folder} is in use by {holder}. Wait for it or train into another folder."
            ) from err
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(descriptor)
