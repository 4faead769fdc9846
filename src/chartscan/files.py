"""Files that are whole or absent: atomic writing, folders sealed with SHA-256.

A reader never sees half a file or half a folder, whenever the writer is killed: everything is written beside
its place, synced to disk, and renamed into it. What a killed writer leaves beside it, `.<name>.<16 digits>`,
goes at the next start of a command on the same place (`sweep`): its lock is free. A name that someone else
planted is not followed (`own_place`). This module does not know what the files hold. Windows opens and locks
no folder: there the entries of folders are not synced, and folders that a killed writer left stay.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from filelock import lock_descriptor

from chartscan.errors import ChartscanError, ConfigError, DataError

MANIFEST = "manifest.json"
MOST_JSON_BYTES = 512 << 20  # of one JSON file that we wrote; the largest so far, trees of 3,000, has 40 MB
CHUNK = 1 << 20  # bytes hashed at a time
WINDOWS = os.name == "nt"  # an open file cannot be renamed or removed
# Neither follow a link nor wait for the other end of a pipe, where the system can be told.
AS_IT_IS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL

T = TypeVar("T")
H = TypeVar("H", int, int | None)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with naming(path), path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Forces a file, or the entries of a folder, to disk."""
    if WINDOWS and path.is_dir():
        return
    with naming(path):
        descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within, an error of the disk names `path`, or the file in it.

    The system names a file that it could not open, but not one that it could not write. It also calls a draft
    by a name that the user does not know.
    """
    try:
        yield
    except OSError as err:
        final = path if err.filename is None else _final(err.filename, path)
        if err.errno is None or final is None:
            raise
        raise OSError(err.errno, err.strerror, str(final)) from err


def _final(name: object, path: Path) -> Path | None:
    """Where a file that the system names will lie: the draft of `path` at `path`. None for other files."""
    place = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else Path()
    for part in (place, *place.parents):
        if part.parent == path.parent and _is_draft(part.name, path.name):
            return path / place.relative_to(part)
    return None


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make `folder` and its parents; on an error, remove the empty ones made."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for one in missing:
            with suppress(OSError):
                one.rmdir()
        raise


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; any OSError names the file."""
    with naming(path):
        return path.read_bytes()


def write_bytes(path: Path, content: bytes, private: bool = False) -> None:
    """Write `content` to `path` atomically: readers see the old file or the new.

    `private`: only the owner may read it. A symbolic link at `path` is replaced, not followed. An OSError
    names `path`. Makes the folder of `path`.
    """
    write_all({path: content}, private)


def write_all(contents: Mapping[Path, bytes], private: bool = False) -> None:
    """Write several files atomically; all reach the disk before the first is replaced.

    So what there was stays as it was where one of them cannot be written, or put in its place. A crash while
    they are put in their places, in the order of `contents`, leaves new files beside old ones, each whole.
    """
    with ExitStack() as stack:
        drafts = []
        for path, content in contents.items():
            stack.enter_context(made_folder(path.parent))
            drafts.append(stack.enter_context(_draft(path, content, private)))
        _put(dict(zip(contents, drafts, strict=True)))
    for folder in dict.fromkeys(path.parent for path in contents):
        sync(folder)


def _put(drafts: Mapping[Path, Path]) -> None:
    """Puts each draft in its place. Where one cannot be, what was there comes back."""
    before: dict[Path, Path | None] = {}  # second names of what was there; None: nothing was
    try:
        for path, draft in drafts.items():
            if len(drafts) > 1:
                with suppress(OSError):  # a file system without links: nothing comes back
                    before[path] = _second_name(path)
            with naming(path):
                os.replace(draft, path)
    except BaseException:
        for path, second in before.items():
            with suppress(OSError):
                path.unlink(missing_ok=True) if second is None else os.replace(second, path)
        raise
    finally:
        for second in filter(None, before.values()):
            second.unlink(missing_ok=True)


def _second_name(path: Path) -> Path | None:
    """Another name for the file at `path`, hidden; None where there is no file."""
    second = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        os.link(path, second, follow_symlinks=os.link not in os.supports_follow_symlinks)
    except FileNotFoundError:
        return None
    return second


@contextmanager
def _draft(path: Path, content: bytes, private: bool) -> Iterator[Path]:
    """A file with `content` beside `path`, on the disk; on an error it goes. An OSError names `path`."""
    with naming(path):
        sweep(path)
        beside, descriptor = _held(path, lambda p: os.open(p, _NEW, 0o600 if private else 0o666))
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
                if not WINDOWS:
                    yield beside
            if WINDOWS:
                yield beside
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON with sorted keys, atomically."""
    write_bytes(path, _json(value))


def _json(value: Any) -> bytes:
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return text.encode() + b"\n"


def read_json(path: Path, type_: type[T], what: str) -> T:
    """Return the JSON in `path` as `type_`.

    Raises DataError where the file does not contain `what` it should. Numbers are finite, since JSON has no
    others. What they mean is for the caller to check.
    """
    try:
        size = path.stat().st_size
        if size > MOST_JSON_BYTES:
            raise DataError(f"{path} has {size:,} bytes; {what} has at most {MOST_JSON_BYTES:,}.")
        return msgspec.json.decode(read_bytes(path), type=type_)
    except DataError:
        raise
    except (msgspec.MsgspecError, ChartscanError, RecursionError, UnicodeDecodeError) as err:
        raise DataError(f"{path} does not contain {what}: {err}.") from err


def write_report(path: Path, numbers: bytes, beside: Mapping[str, bytes]) -> None:
    """Write the files `beside` and the JSON `numbers` at `path`, all or none.

    They are sealed together. `numbers` gets two more entries: `files`, the SHA-256 of the files beside it,
    and last `sha256`, that of its own text without this entry. `read_report` compares them.
    """
    content: dict[str, Any] = json.loads(numbers)
    content["files"] = {name: hashlib.sha256(text).hexdigest() for name, text in beside.items()}
    places = {path.with_name(name): text for name, text in beside.items()}
    write_all({**places, path: _with_seal(_report_text(content))})


def read_report(path: Path, remedy: str) -> dict[str, Any]:
    """What `write_report` put at `path`, without the two entries of its own.

    DataError naming the file, with the `remedy`, where it or a file beside it is not as it was written.
    """
    try:
        raw = read_bytes(path)
        content = json.loads(raw)
        _, named = content.pop("sha256"), content["files"]
        as_written = raw == _with_seal(_report_text(content)) and all(map(_plain, named))
    except FileNotFoundError as err:
        raise DataError(f"{path}: no such file.") from err
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        as_written = False
    if not as_written:
        raise DataError(f"{path}: damaged, its SHA-256 is not the one written. {remedy}")
    for name, digest in content.pop("files").items():
        other = path.with_name(name)
        if not other.is_file() or sha256(other) != digest:
            raise DataError(f"{other}: missing, damaged, or of another run than {path.name}. {remedy}")
    return content


def _report_text(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def _with_seal(text: bytes) -> bytes:
    """The text of a JSON object with the SHA-256 of itself as one more entry, the last."""
    digest = hashlib.sha256(text).hexdigest().encode()
    return text.removesuffix(b"\n}\n") + b',\n "sha256": "' + digest + b'"\n}\n'


@contextmanager
def sealed(folder: Path, private: bool = False) -> Iterator[Path]:
    """A staging folder that becomes `folder`, with its manifest, on leaving.

    Folders in it are sealed ones themselves: the manifest holds the digest of theirs. As `appearing`.
    """
    with appearing(folder, private) as staging:
        yield staging
        _seal(staging)


@contextmanager
def appearing(folder: Path, private: bool = False) -> Iterator[Path]:
    """A staging folder that becomes `folder` on leaving. On an error nothing appears.

    Raises ConfigError where `folder` exists: nothing is ever overwritten. `private`: for its owner alone.
    """
    if os.path.lexists(folder):
        raise ConfigError(f"{folder} exists already and is not overwritten. Choose another place.")
    with naming(folder), made_folder(folder.parent):
        sweep(folder)
        staging, held = _held(folder, lambda p: _new_folder(p, 0o700 if private else 0o777))
        try:
            yield staging
            os.rename(staging, folder)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        finally:
            if held is not None:
                os.close(held)
        sync(folder.parent)


def sweep(out: Path) -> None:
    """Remove what killed writers left beside `out`, or in it if a folder.

    A writer holds a lock on its draft as long as it lives. What cannot be read or removed stays.
    """
    beside = (
        [] if not out.parent.is_dir() else [p for p in _entries(out.parent) if _is_draft(p.name, out.name)]
    )
    within = [p for p in _entries(out) if _DRAFT.fullmatch(p.name)] if _is_folder(out) else []
    for path in (*beside, *within):
        with suppress(OSError):
            _remove_if_free(path)


def _remove_if_free(path: Path) -> None:
    """Removes a draft unless its writer lives."""
    held = os.open(path, os.O_RDONLY | AS_IT_IS)
    try:
        free = lock_descriptor(held, blocking=False)
        if free and not WINDOWS:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    finally:
        os.close(held)
    if free and WINDOWS:
        path.unlink(missing_ok=True)


def own_place(out: Path) -> Path:
    """Return where to write `out`: itself, or the target of its symbolic link.

    Only links of the user or of root are followed. ConfigError where the link belongs to someone else: in a
    folder that many may write in, it could lead to any file of the user.
    """
    if not out.is_symlink():
        return out
    about = out.lstat()
    if about.st_uid and not owned(about):
        raise ConfigError(
            f"{out} is a symbolic link that belongs to another user; it is not followed. Name another place."
        )
    return out.resolve()


def owned(about: os.stat_result) -> bool:
    """Whether a file belongs to the user of this process. Windows does not say: True."""
    return not hasattr(os, "geteuid") or about.st_uid == os.geteuid()


def check_own(path: Path) -> None:
    """ConfigError where `path` exists and is a symbolic link, or belongs to someone else."""
    try:
        about = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(about.st_mode) or not owned(about):
        what = "a symbolic link" if stat.S_ISLNK(about.st_mode) else "there, and belongs to another user"
        raise ConfigError(f"{path} is {what}; it is not used. Remove it, or choose another output.")


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
        raise DataError(f"{folder} has no {MANIFEST}: it is not a complete chartscan folder.")
    if path.stat().st_size > MOST_JSON_BYTES:
        raise DataError(f"{path} is damaged: it has {path.stat().st_size:,} bytes.")
    content = read_bytes(path)
    try:
        manifest = json.loads(content)
        digests = manifest["sha256"]
        as_written = isinstance(digests, dict) and all(map(_plain, digests))
        as_written = as_written and content == _json({"sha256": digests})
    except (ValueError, KeyError, TypeError, RecursionError):
        as_written = False
    if not as_written:
        raise DataError(f"{path} is damaged: not the manifest that was written. Restore it from a copy.")
    return digests


def _plain(name: str) -> bool:
    """Whether a name of a manifest stays in its folder: of a file, or of a manifest one folder down."""
    name = name.removesuffix(f"/{MANIFEST}")
    return name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


_DRAFT = re.compile(r"\..+\.[0-9a-f]{16}")


def is_draft(path: Path) -> bool:
    """Whether a file or folder is what a writer has not finished, by its name."""
    return _DRAFT.fullmatch(path.name) is not None


def _is_draft(name: str, of: str) -> bool:
    return name.startswith(f".{of}.") and re.fullmatch("[0-9a-f]{16}", name[len(of) + 2 :]) is not None


def _held(path: Path, make: Callable[[Path], H]) -> tuple[Path, H]:
    """A hidden draft beside `path`, made by `make`, and its descriptor, locked until that is closed.

    The descriptor is None where `make` cannot open what it made.
    """
    while True:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        held = make(draft)
        if held is None:
            return draft, held
        try:
            lock_descriptor(held)
        except OSError:  # a file system without locks: nothing is swept there either
            return draft, held
        if draft.exists() and os.path.samestat(os.fstat(held), draft.lstat()):
            return draft, held
        os.close(held)  # swept between its making and its lock


def _new_folder(path: Path, mode: int) -> int | None:
    path.mkdir(mode=mode)
    if WINDOWS:
        return None
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        path.rmdir()
        raise


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
