"""From a finished folder to the published one in a single step: a reader sees the old dataset or the new.

The folder is built as `<out>.staging-<pid>/dataset`, on the file system of `out`. A first publication is a
rename. A replacement exchanges the two names in one system call (Linux, macOS). Where the file system has
no exchange, the old folder is moved aside as `<out>.previous` first: `published` finds it there should the
run die between the two renames, and the next run puts it back. All of it happens under the OutputLock of
`out`, so that whatever staging lies about belongs to a run that died.

A published dataset holds patient ids: its folder has mode 0700, whatever the one it replaces had. Who shares
it with a group widens that by hand.
"""

import ctypes
import os
import re
import shutil
import sys
from pathlib import Path

from chartscan.files import WINDOWS, check_own, sync
from chartscan.store.writing import writing

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # Linux: RENAME_EXCHANGE; macOS: RENAME_SWAP has the same value


def published(out: Path) -> Path:
    """Where the dataset `out` is at this moment."""
    previous = _previous(out)
    return previous if not out.exists() and previous.exists() else out


def recover(out: Path) -> None:
    """Undo what a run that died left behind. The caller holds the lock."""
    previous = _previous(out)
    check_own(previous)
    if previous.exists() and not out.exists():
        os.rename(previous, out)
    ours = re.compile(re.escape(out.name) + r"\.staging-\d+")
    for path in [p for p in out.parent.iterdir() if ours.fullmatch(p.name)]:
        check_own(path)
        shutil.rmtree(path)
    if previous.exists():
        _discard(previous, make_staging(out))


def make_staging(out: Path) -> Path:
    """A private folder beside `out` for this process to build in."""
    staging = out.with_name(f"{out.name}.staging-{os.getpid()}")
    staging.mkdir(mode=0o700, parents=True)
    return staging


def remove_staging(staging: Path) -> None:
    """Remove what this process built or replaced: all that can be, and then an OSError for the rest."""
    shutil.rmtree(staging, ignore_errors=True)
    if staging.exists():
        shutil.rmtree(staging)


def publish(folder: Path, out: Path) -> None:
    """Put `folder`, complete, in the place of `out`; what was there ends up inside the staging folder.

    An error means that it was not published. `sync` the folder it is in afterwards.
    """
    folder.chmod(0o700)
    _sync(folder)
    if not out.exists() or not any(out.iterdir()):
        if WINDOWS and out.exists():
            out.rmdir()
        os.rename(folder, out)
    elif not _exchange(folder, out):
        previous = _previous(out)
        os.rename(out, previous)
        os.rename(folder, out)
        os.rename(previous, folder)


def _previous(out: Path) -> Path:
    return out.with_name(out.name + ".previous")


def _discard(path: Path, staging: Path) -> None:
    """Remove `path` so that its name never stands for half a dataset."""
    os.rename(path, staging / "previous")
    shutil.rmtree(staging)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names atomically; False where the system cannot."""
    if WINDOWS:
        return False
    library = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return library.renamex_np(first, second, _RENAME_EXCHANGE) == 0
    if hasattr(library, "renameat2"):
        return library.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE) == 0
    return False


def _sync(folder: Path) -> None:
    """Every file and folder below `folder` on the disk, not only in memory."""
    for place, _, names in os.walk(folder, topdown=False):
        for path in (*(Path(place, name) for name in names), Path(place)):
            with writing(path):
                sync(path)
