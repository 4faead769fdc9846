"""Each file of a folder of sets: read, set aside with reason, or refused.

Names decide, as the challenge's files go by theirs; a file by another name is opened where it begins as a
record does. The same rules hold for the members of an archive.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from chartscan.errors import DataError

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
TEXTS = (".txt", ".txt.gz")
HEADER = b"Time,Parameter,Value"
BOM = b"\xef\xbb\xbf"
GZIP, ZIP = b"\x1f\x8b", b"PK"
OUTCOMES_NAME = re.compile(r"outcomes-(.+)", re.IGNORECASE)
READ, SET_ASIDE, REFUSED = "read", "set aside", "refused"
GROWING, EMPTY = "still being written", "empty"
TEXT, ARCHIVE = "text", "archive"
HEAD_BYTES = 64
_PARTIAL = re.compile(
    r"\.(?:part|partial|tmp|temp|crdownload|download|opdownload|filepart|inprogress|incomplete|aria2)"
    r"(?:[.-]?\w{1,8})?$",
    re.I,
)
_BACKUP = re.compile(r"(?:~|\.(?:bak|backup|old|orig|save))$", re.I)
_APPLE_FORK = b"\x00\x05\x16\x07"
_PACKED = (GZIP, b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
_OFFICE = (".xlsx", ".docx", ".pptx", ".odt", ".ods", ".npz", ".whl", ".jar")


class Entry(NamedTuple):
    """What became of one file; `doubtful`: it may hold data that is missed."""

    name: str
    how: str
    reason: str
    bytes: int
    doubtful: bool = False


class Input(NamedTuple):
    """One input file; `name` is its path below the given folder."""

    path: Path
    name: str
    form: str  # TEXT or ARCHIVE
    size: int  # bytes on disk
    before: int  # bytes of the files before it
    changed_ns: int


class Judgement(NamedTuple):
    """How a file is treated; `form` is set where it is read."""

    how: str
    reason: str = ""
    doubtful: bool = False
    form: str = TEXT


def survey(path: Path) -> tuple[list[Input], list[Entry]]:
    """Return files to read and the account of others; DataError if none or unfinished."""
    if not path.exists():
        raise DataError(f"{path} does not exist. {_WANTED}")
    files: list[Input] = []
    account: list[Entry] = []
    before = 0
    for place, name in [(path, path.name)] if path.is_file() else _walk(path, account):
        judgement, size, changed = _judged_file(place, name)
        if judgement.how == READ:
            files.append(Input(place, name, judgement.form, size, before, changed))
            before += size
        else:
            account.append(Entry(name, judgement.how, judgement.reason, size, judgement.doubtful))
    if growing := [entry.name for entry in account if entry.reason == GROWING]:
        raise DataError(
            f"{_names(growing)}: still being written, as the name shows (B19). Nothing is published. Wait "
            "until the download is complete; remove what an earlier one left behind."
        )
    if not files:
        others = "; ".join(f"{entry.name}: {entry.reason}" for entry in account[:10])
        raise DataError(
            f"{path} contains no .txt file and no archive{f' ({others})' if others else ''}. {_WANTED}"
        )
    return files, account


_WANTED = "Give the folder that holds set-a (a folder, .tar.gz or .zip) and Outcomes-a.txt."


def check_unchanged(files: list[Input]) -> None:
    """DataError where a file was changed while it was read."""
    changed = []
    for file in files:
        status = file.path.stat()
        if (status.st_size, status.st_mtime_ns) != (file.size, file.changed_ns):
            changed.append(file.name)
    if changed:
        raise DataError(
            f"{_names(changed)}: changed while being read (B19). Nothing is published. Wait until the "
            "download is complete, then start again."
        )


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _walk(root: Path, account: list[Entry]) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, by name; folders that are not entered go into the account."""
    for place, folders, names in os.walk(root, onerror=_unreadable):
        here = Path(place)
        for folder in sorted(folders):
            link = (here / folder).is_symlink()
            if link or folder.startswith(".") or folder == "__MACOSX":
                folders.remove(folder)
                reason = "link to a folder" if link else "hidden folder"
                account.append(Entry(_name(here / folder, root) + "/", SET_ASIDE, reason, 0, link))
        folders.sort()
        for name in sorted(names):
            yield here / name, _name(here / name, root)


def _unreadable(err: OSError) -> None:
    raise DataError(
        f"{err.filename} cannot be read: {err.strerror}. Change its permissions, or move it away."
    )


def _name(path: Path, root: Path) -> str:
    """The path below the root, as text that can be written."""
    return plain_text(path.relative_to(root).as_posix())


def plain_text(name: str) -> str:
    """A name of the file system or an archive as text that can be written."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _judged_file(path: Path, name: str) -> tuple[Judgement, int, int]:
    """What is done with a file on disk, its size and when it was changed."""
    if not path.exists():
        return Judgement(SET_ASIDE, "link to nothing", doubtful=True), 0, 0
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return Judgement(SET_ASIDE, "not a regular file", doubtful=True), 0, 0

    def head() -> bytes:
        try:
            with path.open("rb") as disk:
                return disk.read(HEAD_BYTES)
        except PermissionError as err:
            _unreadable(err)
            raise

    return judged(name, head), status.st_size, status.st_mtime_ns


def judged(name: str, head: Callable[[], bytes]) -> Judgement:
    """Return a path's treatment; `head` gives first bytes if the name is unclear."""
    parts = PurePosixPath(name).parts
    last = parts[-1].lower() if parts else ""
    if "__MACOSX" in parts[:-1] or any(part.startswith(".") for part in parts):
        return Judgement(SET_ASIDE, "hidden file")
    if _BACKUP.search(last):
        return Judgement(SET_ASIDE, "backup copy")
    if _PARTIAL.search(last):
        of = _PARTIAL.sub("", last)
        if of.endswith((*TEXTS, *ARCHIVES)) or _begins(head()).startswith((HEADER, *_PACKED)):
            return Judgement(REFUSED, GROWING, doubtful=True)
        return Judgement(SET_ASIDE, "temporary file")
    if last.endswith(ARCHIVES):
        return Judgement(READ, form=ARCHIVE)
    return Judgement(READ) if last.endswith(TEXTS) else _by_content(last, _begins(head()))


def _by_content(last: str, head: bytes) -> Judgement:
    """A file whose name is none of the challenge's."""
    stem, dot, kind = last.partition(".")
    outcomes = OUTCOMES_NAME.fullmatch(stem) is not None
    if head.startswith(HEADER) or (outcomes and kind in ("", "csv") and not head.startswith(_PACKED)):
        return Judgement(READ)
    if head.startswith(_APPLE_FORK):
        return Judgement(SET_ASIDE, "resource fork of a Mac")
    if head.startswith(_PACKED) and not f"{dot}{kind}".endswith(_OFFICE):
        return Judgement(SET_ASIDE, "archive that is not read: unpack it", doubtful=True)
    if outcomes:
        return Judgement(SET_ASIDE, "no text: save it as Outcomes-<set>.txt", doubtful=True)
    return Judgement(SET_ASIDE, "no record" if head else EMPTY)


def _begins(head: bytes) -> bytes:
    return head.removeprefix(BOM)
