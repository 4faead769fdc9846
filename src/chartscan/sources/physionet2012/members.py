"""The challenge's text files: in folders, tar archives or zip archives.

Archives are unpacked in memory and never to the disk. One that is damaged, or that holds what no archive of
text files holds (links, paths that lead outside), is refused as a whole: a part of a set is another cohort.
"""

import errno
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from chartscan.errors import DataError
from chartscan.sources.physionet2012.folder import (
    ARCHIVE,
    BOM,
    GZIP,
    HEAD_BYTES,
    HEADER,
    OUTCOMES_NAME,
    READ,
    SET_ASIDE,
    TEXT,
    ZIP,
    Entry,
    Input,
    judged,
    plain_text,
)
from chartscan.sources.physionet2012.parameters import Config
from chartscan.sources.physionet2012.splits import set_name

RECORD, OUTCOMES, OTHER = "record", "outcomes", "other"
MOST_MEMBERS = 100_000  # of an archive; a set has 4,000 records
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\0")
_BLOCK = 1 << 20


class Member(NamedTuple):
    """One text file, loose or in an archive."""

    kind: str  # RECORD, OUTCOMES or OTHER
    source: str  # what it is accounted under: its archive, or the folder it lies in
    name: str  # where it lies, for messages
    stem: str  # its own name without .txt
    set_name: str
    data: bytes
    done: int  # bytes on disk read so far, this file included
    packed: bool = False  # whether it was a gzip file of its own


def members(files: list[Input], root: Path, config: Config, account: list[Entry]) -> Iterator[Member]:
    """Yield every text file by name; DataError for an untrustworthy archive.

    Members of archives that are not read are added to the `account`.
    """
    for file in files:
        if file.form == ARCHIVE:
            yield from _archived(file, config, account)
        elif file.size > config.record_limit_mb << 20:
            raise _too_large(file.name, config)
        else:
            folder = file.path.parent
            above = file.path.relative_to(root).parent.as_posix() if root.is_dir() else folder.name
            source = plain_text(folder.name if above == "." else above)
            data = file.path.read_bytes()
            yield _member(file.name, file, source, folder.name, data, config, file.before + file.size)


def _member(
    name: str, file: Input, source: str, folder: str, data: bytes, config: Config, done: int
) -> Member:
    """A file told by its name: Outcomes-x.txt, <RecordID>.txt, or by its header where the name is another."""
    packed = data.startswith(GZIP)
    if packed:
        data = _unpacked(name, file, data, config)
    stem = PurePosixPath(re.sub(r"\.gz$", "", name, flags=re.IGNORECASE)).stem
    outcomes = OUTCOMES_NAME.fullmatch(stem)
    if outcomes:
        return Member(OUTCOMES, name, name, stem, set_name(outcomes[1]), data, done, packed)
    is_record = stem.isdecimal() or data.removeprefix(BOM).startswith(HEADER)
    return Member(
        RECORD if is_record else OTHER, source, name, stem, plain_text(set_name(folder)), data, done, packed
    )


def _unpacked(name: str, file: Input, data: bytes, config: Config) -> bytes:
    """The text of a gzip file of one text."""
    try:
        content = _all_of(gzip.GzipFile(fileobj=io.BytesIO(data)).read, config.record_limit_mb << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise _damaged(file._replace(name=name)) from err
    if content is None:
        raise _too_large(name, config)
    return content


def _archived(file: Input, config: Config, account: list[Entry]) -> Iterator[Member]:
    """The text files of an archive; what it is, its first bytes say."""
    found = list(_contents(file, config, account))
    total = sum(len(data) for _, data in found) or 1
    own = re.sub(r"(\.tar)?\.[^.]+$", "", Path(file.name).name, flags=re.IGNORECASE)
    seen = 0
    for name, data in sorted(found):
        seen += len(data)
        folder = PurePosixPath(name).parent.name or own
        done = file.before + file.size * seen // total
        yield _member(f"{file.name}/{name}", file, file.name, folder, data, config, done)


def _contents(file: Input, config: Config, account: list[Entry]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the text files in an archive, in its own order."""
    limit = config.archive_limit_mb << 20
    try:
        with file.path.open("rb") as disk:
            magic = disk.read(2)
            disk.seek(0)
            if magic == ZIP:
                yield from _zipped(file, disk, config, account)
                return
            with gzip.GzipFile(fileobj=disk) if magic == GZIP else disk as stream:
                content = _all_of(stream.read, limit)
        if content is None:
            raise DataError(
                f"{file.name} is larger than {config.archive_limit_mb} MB when unpacked. Raise "
                "archive_limit_mb if that is right."
            )
        yield from _tarred(file, content, config, account)
    except (
        EOFError,
        zlib.error,
        tarfile.TarError,
        zipfile.BadZipFile,
        lzma.LZMAError,
        NotImplementedError,
        ValueError,
        struct.error,
    ) as err:
        raise _damaged(file) from err
    except OSError as err:
        if err.errno not in (None, errno.EINVAL):  # a fault of the disk
            raise
        raise _damaged(file) from err  # gzip, bzip2 and a place before the file's begin tell of bad data so


def _all_of(read: Callable[[int], bytes], limit: int) -> bytes | None:
    """All bytes of a stream; None where there are more than `limit`."""
    parts, size = [], 0
    while part := read(_BLOCK):
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


def _tarred(file: Input, content: bytes, config: Config, account: list[Entry]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for number, member in enumerate(archive, 1):
            if number > MOST_MEMBERS:
                raise _too_many(file)
            if member.isdir() and not _leads_outside(member.name):
                continue
            _check_member(file, member.name, member.isreg())
            if _to_be_read(file, member.name, member.size, partial(_head, archive, member), account):
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


def _zipped(
    file: Input, disk: io.BufferedReader, config: Config, account: list[Entry]
) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(disk) as archive:
        infos = archive.infolist()
        if len(infos) > MOST_MEMBERS:
            raise _too_many(file)
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
            if _to_be_read(file, info.filename, info.file_size, partial(_zip_head, archive, info), account):
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


def _to_be_read(file: Input, name: str, size: int, head: Callable[[], bytes], account: list[Entry]) -> bool:
    """Whether a member is a text file of the challenge; else it goes into the account."""
    judgement = judged(_plain_name(name), head)
    if judgement.how == READ and judgement.form == TEXT:
        return True
    reason, doubtful = judgement.reason or "archive within an archive: unpack it", judgement.doubtful
    account.append(
        Entry(f"{file.name}/{_plain_name(name)}", SET_ASIDE, reason, size, doubtful or not judgement.reason)
    )
    return False


def _head(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read(HEAD_BYTES) if stream else b""


def _zip_head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as stream:
        return stream.read(HEAD_BYTES)


def _plain_name(name: str) -> str:
    return plain_text(PurePosixPath(name).as_posix())


def _too_many(file: Input) -> DataError:
    return DataError(
        f"{file.name} holds more than {MOST_MEMBERS:,} members, which no set does (B14). Nothing of it is "
        "read. Get the archive again from its publisher."
    )


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
