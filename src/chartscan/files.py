"""Files that are whole or absent: atomic writing, and folders sealed by a manifest of SHA-256.

A reader never sees half a file or half a folder, whenever the writer is killed: everything is written beside
its place, synced to disk, and renamed into it. This module does not know what the files hold.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from chartscan.errors import ChartscanError, ConfigError, DataError

MANIFEST = "manifest.json"
MOST_JSON_BYTES = 512 << 20  # of one JSON file that we wrote; the largest so far, trees of 3,000, has 40 MB
CHUNK = 1 << 20  # bytes hashed at a time
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL

T = TypeVar("T")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Forces a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes, private: bool = False) -> None:
    """Puts `content` at `path`: a reader sees the old file or the new one; `private`: for its owner alone."""
    beside = _beside(path)
    try:
        with os.fdopen(os.open(beside, _NEW, 0o600 if private else 0o666), "wb") as file:
            file.write(content)
        sync(beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Puts `value` at `path` as indented JSON with sorted keys, whole or not at all."""
    write_bytes(path, _json(value))


def _json(value: Any) -> bytes:
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return text.encode() + b"\n"


def read_json(path: Path, type_: type[T], what: str) -> T:
    """The JSON in `path` as `type_`, read without trust; DataError where it does not hold `what` it should.

    Numbers are finite, since JSON has no others. What they mean is for the caller to check.
    """
    try:
        size = path.stat().st_size
        if size > MOST_JSON_BYTES:
            raise DataError(f"{path} has {size:,} bytes; {what} has at most {MOST_JSON_BYTES:,}.")
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except DataError:
        raise
    except (msgspec.MsgspecError, ChartscanError, RecursionError, UnicodeDecodeError) as err:
        raise DataError(f"{path} does not hold {what}: {err}.") from err


@contextmanager
def sealed(folder: Path, private: bool = False) -> Iterator[Path]:
    """A staging folder to write plain files in; on leaving it becomes `folder`, with its manifest.

    Folders in it are sealed ones themselves: the manifest holds the digest of theirs. On an error nothing
    appears. Raises ConfigError where `folder` exists: nothing is ever overwritten. `private`: for its owner
    alone.
    """
    if folder.exists():
        raise ConfigError(
            f"{folder} exists already and is not overwritten. Choose another place or remove it."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = _beside(folder)
    staging.mkdir(mode=0o700 if private else 0o777)
    try:
        yield staging
        _seal(staging)
        os.rename(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync(folder.parent)


def _seal(staging: Path) -> None:
    digests = {}
    for path in sorted(staging.iterdir()):
        sync(path)
        name = f"{path.name}/{MANIFEST}" if path.is_dir() else path.name
        digests[name] = sha256(staging / name)
    write_json(staging / MANIFEST, {"sha256": digests})


def verify(folder: Path) -> list[str]:
    """Names of the files of a sealed folder, each equal to what the manifest says.

    Raises DataError naming the file that is missing, changed or cut short. Files that the manifest does not
    name are not touched. Of a folder within only the manifest (`within/manifest.json`) is checked: whoever
    reads that folder verifies it.
    """
    digests = _manifest(folder)
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing, though {MANIFEST} names it. Restore the folder from a copy.")
        if sha256(path) != digest:
            raise DataError(
                f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}. Restore it from a copy."
            )
    return sorted(digests)


def _manifest(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder} has no {MANIFEST}: it is not a complete folder of ours.")
    if path.stat().st_size > MOST_JSON_BYTES:
        raise DataError(f"{path} is damaged: it has {path.stat().st_size:,} bytes.")
    content = path.read_bytes()
    try:
        manifest = json.loads(content)
        digests = manifest["sha256"]
        as_written = content == _json({"sha256": digests}) and all(map(_plain, digests))
    except (ValueError, KeyError, TypeError, RecursionError):
        as_written = False
    if not as_written:
        raise DataError(f"{path} is damaged: not the manifest that was written. Restore it from a copy.")
    return digests


def _plain(name: str) -> bool:
    """Whether a name of a manifest stays in its folder: of a file, or of a manifest one folder down."""
    name = name.removesuffix(f"/{MANIFEST}")
    return name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


def _beside(path: Path) -> Path:
    """A hidden name in the same folder that nothing has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")
