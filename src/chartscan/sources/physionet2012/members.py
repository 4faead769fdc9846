"""The text files of the challenge, wherever they lie: in folders, tar archives or zip archives.

Archives are unpacked in memory and never to the disk. One that is damaged, or that holds what no archive of
text files holds (links, paths that lead outside), is refused as a whole: a part of a set is another cohort.
"""

import gzip
import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from chartscan.errors import DataError
from chartscan.sources.physionet2012.config import Config
from chartscan.sources.physionet2012.splits import set_name

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
HEADER = b"Time,Parameter,Value"
BOM = b"\xef\xbb\xbf"
RECORD, OUTCOMES, OTHER = "record", "outcomes", "other"
_OUTCOMES = re.compile(r"outcomes-(.+)", re.IGNORECASE)
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\0")
_GZIP, _ZIP = b"\x1f\x8b", b"PK"
_BLOCK = 1 << 20


class Input(NamedTuple):
    """One file of the user's; `name` is its path below the folder given."""

    path: Path
    name: str
    size: int  # bytes on disk
    before: int  # bytes of the files before it


class Member(NamedTuple):
    """One text file, loose or in an archive."""

    kind: str  # RECORD, OUTCOMES or OTHER
    source: str  # what it is accounted under: its archive, or the folder it lies in
    name: str  # where it lies, for messages
    stem: str  # its own name without .txt
    set_name: str
    data: bytes
    done: int  # bytes on disk read so far, this file included


def input_files(path: Path) -> list[Input]:
    """Text files and archives in a folder and below, by name; DataError where there are none."""
    found = (
        [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and _wanted(p, path))
    )
    if not found:
        what = "holds no .txt file and no archive" if path.is_dir() else "does not exist"
        raise DataError(
            f"{path} {what}. Give the folder that holds set-a (a folder, .tar.gz or .zip) and Outcomes-a.txt."
        )
    files, before = [], 0
    for file in found:
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        files.append(Input(file, name, file.stat().st_size, before))
        before += files[-1].size
    return files


def _wanted(file: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    return not hidden and file.name.lower().endswith((".txt", *ARCHIVES))


def members(files: list[Input], root: Path, config: Config) -> Iterator[Member]:
    """Every text file, in the order of names; DataError for an archive that cannot be trusted."""
    for file in files:
        if file.name.lower().endswith(ARCHIVES):
            yield from _archived(file, config)
        elif file.size > config.record_limit_mb << 20:
            raise _too_large(file.name, config)
        else:
            folder = file.path.parent
            above = file.path.relative_to(root).parent.as_posix() if root.is_dir() else folder.name
            source = folder.name if above == "." else above
            yield _member(file.name, source, folder.name, file.path.read_bytes(), file.before + file.size)


def _member(name: str, source: str, folder: str, data: bytes, done: int) -> Member:
    """A file told by its name: Outcomes-x.txt, <RecordID>.txt, or by its header where the name is another."""
    stem = PurePosixPath(name).stem
    outcomes = _OUTCOMES.fullmatch(stem)
    if outcomes:
        return Member(OUTCOMES, name, name, stem, set_name(outcomes[1]), data, done)
    is_record = stem.isdecimal() or data.removeprefix(BOM).startswith(HEADER)
    return Member(RECORD if is_record else OTHER, source, name, stem, set_name(folder), data, done)


def _archived(file: Input, config: Config) -> Iterator[Member]:
    """The text files of an archive; what it is, its first bytes say."""
    found = list(_contents(file, config))
    total = sum(len(data) for _, data in found) or 1
    own = re.sub(r"(\.tar)?\.[^.]+$", "", Path(file.name).name, flags=re.IGNORECASE)
    seen = 0
    for name, data in sorted(found):
        seen += len(data)
        folder = PurePosixPath(name).parent.name or own
        yield _member(f"{file.name}/{name}", file.name, folder, data, file.before + file.size * seen // total)


def _contents(file: Input, config: Config) -> Iterator[tuple[str, bytes]]:
    """Name and content of the text files in an archive, in its own order."""
    limit = config.archive_limit_mb << 20
    try:
        with file.path.open("rb") as disk:
            magic = disk.read(2)
            disk.seek(0)
            if magic == _ZIP:
                yield from _zipped(file, disk, config)
                return
            with gzip.GzipFile(fileobj=disk) if magic == _GZIP else disk as stream:
                content = _all_of(stream.read, limit)
        if content is None:
            raise DataError(
                f"{file.name} is larger than {config.archive_limit_mb} MB when unpacked. Raise "
                "archive_limit_mb if that is right."
            )
        yield from _tarred(file, content, config)
    except (
        EOFError,
        zlib.error,
        tarfile.TarError,
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        NotImplementedError,
    ) as err:
        raise _damaged(file) from err


def _all_of(read: Callable[[int], bytes], limit: int) -> bytes | None:
    """All bytes of a stream; None where there are more than `limit`."""
    parts, size = [], 0
    while part := read(_BLOCK):
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


def _tarred(file: Input, content: bytes, config: Config) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member in archive:
            if member.isdir() and not _leads_outside(member.name):
                continue
            _check_member(file, member.name, member.isreg())
            if _is_text(member.name):
                if member.size > config.record_limit_mb << 20:
                    raise _too_large(file.name, config)
                stream = archive.extractfile(member)
                assert stream is not None
                data = stream.read()
                if len(data) != member.size:
                    raise _damaged(file)
                yield _plain_name(member.name), data
        # tarfile takes damage between members for the end; the true end is nothing but zeros
        rest = content[archive.offset :]
    if not rest or rest.strip(b"\0"):
        raise _damaged(file)


def _zipped(file: Input, disk: io.BufferedReader, config: Config) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(disk) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > config.archive_limit_mb << 20:
            raise DataError(
                f"{file.name} is larger than {config.archive_limit_mb} MB when unpacked. Raise "
                "archive_limit_mb if that is right."
            )
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            regular = kind in (0, stat.S_IFREG) and not info.flag_bits & 1  # bit 0: encrypted
            if info.is_dir() and not _leads_outside(info.orig_filename):
                continue
            _check_member(file, info.orig_filename, regular)
            if _is_text(info.filename):
                if info.file_size > config.record_limit_mb << 20:
                    raise _too_large(file.name, config)
                yield _plain_name(info.filename), archive.read(info)


def _check_member(file: Input, name: str, regular: bool) -> None:
    if not regular or _leads_outside(name):
        raise DataError(
            f"{file.name} holds a member that is no plain file, is encrypted, or has a path that leads out "
            "of the archive. Nothing of it is read. Get the archive again from its publisher."
        )


def _leads_outside(name: str) -> bool:
    return bool(_OUTSIDE.search(name))


def _is_text(name: str) -> bool:
    """Whether a member is a text file, and none that a system left behind (._x, __MACOSX/x)."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") for part in parts) or "__MACOSX" in parts
    return not hidden and name.lower().endswith(".txt")


def _plain_name(name: str) -> str:
    return PurePosixPath(name).as_posix()


def _damaged(file: Input) -> DataError:
    return DataError(
        f"{file.name} is damaged or no archive: it cannot be unpacked to its end. Nothing of it is read. "
        "Copy or download it again."
    )


def _too_large(name: str, config: Config) -> DataError:
    return DataError(
        f"{name} holds a text file over {config.record_limit_mb} MB, which no record is. Raise "
        "record_limit_mb if it is one."
    )
