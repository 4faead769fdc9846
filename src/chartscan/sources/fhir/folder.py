"""The files of an export's folder: its statements, and each file's kind."""

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

from chartscan.errors import DataError
from chartscan.sources.fhir.lines import (
    DOCUMENT,
    LINES,
    BrokenFile,
    InputFile,
    Limits,
    blocks,
    broken_text,
    head_of,
    opened,
    packing,
    text_of,
)
from chartscan.sources.fhir.resources import DECODERS
from chartscan.sources.fhir.wrapped import is_document
from chartscan.store.accounting import UNROUTED

# Manifests of bulk exports (https://hl7.org/fhir/uv/bulkdata/export.html), written by the server, and the log
# of the standard bulk client: one JSON object a line, each with an `exportId` and an `eventId`.

_ENDINGS = re.compile(r"(?:\.(?:ndjson|jsonl|json|gz|bz2|xz|zst))+$", re.I)


class _Output(Struct):
    type: str | None = None
    url: str | None = None
    count: int | None = None


class _Manifest(Struct):
    transactionTime: str
    output: list[_Output] = []
    deleted: list[_Output] = []
    error: list[Any] = []


class _Detail(Struct):
    transactionTime: str | None = None


class _Event(Struct):
    exportId: Any
    eventId: str
    eventDetail: Any = None


class _Timed(Struct):
    eventDetail: _Detail


class Output(NamedTuple):
    """A file of an export; `key` is its name without endings."""

    kind: str
    key: str
    expected: int | None


class Manifest(NamedTuple):
    """A manifest; `time` is None where its transactionTime cannot be read."""

    name: str
    time: datetime | None
    outputs: list[Output]
    errors: int


class ClientLog(NamedTuple):
    """The log of an export client."""

    name: str
    lines: int
    time: datetime | None
    errors: int  # events that say that something failed
    complete: bool


_MANIFEST = msgspec.json.Decoder(_Manifest)
_EVENT = msgspec.json.Decoder(_Event)
_TIMED = msgspec.json.Decoder(_Timed)
_FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_manifest(file: InputFile, limits: Limits) -> Manifest | None:
    """The manifest that a file is, None if it is none."""
    with opened(file, limits) as (stream, _):
        data = stream.read(limits.line_bytes)
    try:
        manifest = _MANIFEST.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except _FAILURES:
        return None
    outputs = [
        Output(o.type or "", _key(unquote(urlsplit(o.url or "").path)), o.count)
        for o in [*manifest.output, *manifest.deleted]
    ]
    return Manifest(file.name, _time(manifest.transactionTime), outputs, len(manifest.error))


def is_log(text: bytes) -> bool:
    """Whether a file that begins so is the log of an export client."""
    try:
        _EVENT.decode(text.split(b"\n", 1)[0])
    except _FAILURES:
        return False
    return True


def read_log(file: InputFile, limits: Limits) -> ClientLog:
    """Return a log's statements on its exports; the last decides completeness."""
    lines, errors, times, begun, ended = 0, 0, [], 0, 0
    try:
        for block in blocks(file, limits):
            for raw in (block.data or b"").splitlines():
                lines += 1
                try:
                    event = _EVENT.decode(raw)
                    begun += event.eventId == "kickoff"
                    ended += event.eventId == "export_complete"
                    errors += event.eventId.endswith("_error")
                    times.append(_time(_TIMED.decode(raw).eventDetail.transactionTime))
                except _FAILURES:
                    continue
    except BrokenFile:
        errors += 1
    return ClientLog(file.name, lines, max(filter(None, times), default=None), errors, ended >= min(begun, 1))


def latest(manifests: Iterable[Manifest], logs: Iterable[ClientLog]) -> datetime | None:
    """Return the last moment of export by all sources; None without any."""
    times = [manifest.time for manifest in manifests] + [log.time for log in logs]
    return max(filter(None, times), default=None)


def _time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _key(name: str) -> str:
    return _ENDINGS.sub("", PurePosixPath(name).name).lower()


def contradictions(
    manifests: list[Manifest], logs: list[ClientLog], table: list[dict[str, Any]], names: Iterable[str]
) -> list[tuple[str, str]]:
    """Return contradictions of records with manifests or logs: flag and sentence.

    `table` is that of the accounting, `names` are those of the files read, also of empty ones.
    """
    found = [("manifest_time_unreadable", m.name) for m in manifests if m.time is None]
    told = [(flag, f"{name}: its transactionTime is not a time, and is not used.") for flag, name in found]
    for manifest in manifests:
        if manifest.errors:
            text = f"{manifest.name}: names {manifest.errors} files of errors that the server met."
            told.append(("manifest_errors", text))
        alone = sum(bool(m.outputs) for m in manifests) == 1
        told += _outputs(manifest, _records(table, names), alone)
    for log in logs:
        if log.errors:
            told.append(("export_log_errors", f"{log.name}: says {log.errors} times that something failed."))
        if not log.complete:
            told.append(("export_log_incomplete", f"{log.name}: does not say that the export was completed."))
    return told


def _records(table: list[dict[str, Any]], names: Iterable[str]) -> dict[str, Counter[str]]:
    """Records by file and type; of lines that could not be read the type is not known."""
    found: dict[str, Counter[str]] = {name: Counter() for name in names}
    for row in table:
        blank = row["filtered"].get("blank", 0)
        found.setdefault(row["file"], Counter())[row["type"]] += row["lines_in"] - blank
    return found


def _outputs(manifest: Manifest, records: dict[str, Counter[str]], alone: bool) -> list[tuple[str, str]]:
    """Files that a manifest names and that are missing, or that have another number of records.

    Clients may name files otherwise than the server: then only types and their totals are compared, and
    totals only if no other manifest has files in the folder.
    """
    files: defaultdict[str, list[str]] = defaultdict(list)
    for name in records:
        files[_key(name)].append(name)
    if not any(output.key in files for output in manifest.outputs):
        return _totals(manifest, records, alone)
    missing = [output for output in manifest.outputs if output.key not in files]
    told = []
    if missing:
        kinds = ", ".join(sorted({output.kind for output in missing}))
        told.append(
            (
                "manifest_output_missing",
                f"{manifest.name}: {len(missing)} of its files are missing ({kinds}).",
            )
        )
    for output in manifest.outputs:
        counts = {_count(records[name], output.kind): name for name in files.get(output.key, [])}
        if output.expected is not None and counts and output.expected not in counts:
            count, name = next(iter(counts.items()))
            told.append(_differs(manifest, f"{output.expected:,} {output.kind} in {name}", count))
    return told


def _totals(manifest: Manifest, records: dict[str, Counter[str]], alone: bool) -> list[tuple[str, str]]:
    total = sum(records.values(), Counter())
    wanted: defaultdict[str, list[int | None]] = defaultdict(list)
    for output in manifest.outputs:
        wanted[output.kind].append(output.expected)
    told = []
    for kind, counts in sorted(wanted.items()):
        expected = sum(count or 0 for count in counts)
        if not total[kind] and (expected or None in counts):
            text = f"{manifest.name}: names files of type {kind}, and none is in the folder."
            told.append(("manifest_output_missing", text))
        elif alone and None not in counts and not total[kind] <= expected <= _count(total, kind):
            told.append(_differs(manifest, f"{expected:,} {kind}", total[kind]))
    return told


def _count(records: Counter[str], kind: str) -> int:
    return records[kind] + records[UNROUTED]


def _differs(manifest: Manifest, expected: str, count: int) -> tuple[str, str]:
    return "manifest_count_differs", f"{manifest.name}: says {expected}; {count:,} were found."


# Content decides what a file is. Names decide only what must not be read: hidden files, backups, and files
# that are still being written.

READ, SET_ASIDE, REFUSED = "read", "set aside", "refused"
MANIFEST, LOG, EMPTY, GROWING = (
    "manifest of the export",
    "log of the export client",
    "empty",
    "still being written",
)
_PACKED = r"(?:\.(?:gz|bz2|xz|zst|zstd))?"
_DATA_NAME = re.compile(rf"\.(?:ndjson|jsonl|njson|ldjson|jsonlines){_PACKED}(?:\.\d+)?$", re.I)
_LINES_NAME = re.compile(r"\.(?:ndjson|jsonl|njson|ldjson|jsonlines)\b", re.I)  # packed twice, or otherwise
_JSON_NAME = re.compile(rf"\.json{_PACKED}$", re.I)
_PARTIAL = re.compile(
    r"\.(?:part|partial|tmp|temp|crdownload|download|opdownload|filepart|inprogress|incomplete|aria2)"
    r"(?:[.-]?\w{1,8})?$",
    re.I,
)
_BACKUP = re.compile(r"(?:~|\.(?:bak|backup|old|orig|save))$", re.I)
_TYPE_NAME = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(DECODERS)})(?![A-Za-z])")
_FHIR = re.compile(rb'"resourceType"\s*:\s*"[A-Za-z]+"')
_XML = re.compile(rb"<[A-Za-z]+[^>]*http://hl7\.org/fhir")
_NO_EXPORT = (".csv", ".tsv", ".parquet", ".md", ".txt", ".pdf", ".html", ".xlsx", ".sql", ".py", ".md5")
_APPLE_FORK = b"\x00\x05\x16\x07"
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"7z\xbc\xaf\x27\x1c", b"Rar!")


class Entry(NamedTuple):
    """What became of one file; `doubtful`: it may hold data that is missed."""

    name: str
    how: str
    reason: str
    bytes: int
    doubtful: bool = False


class Folder(NamedTuple):
    """A scanned folder: its record files, and the account of all files."""

    files: list[InputFile]
    account: list[Entry]
    manifests: list[Manifest]
    logs: list[ClientLog]


def survey(path: Path, limits: Limits) -> Folder:
    """Return the contents of a folder or file; DataError if empty, unreadable or unfinished."""
    if not path.exists():
        raise DataError(f"{path} does not exist. {_WANTED}")
    found = Folder([], [], [], [])
    growing = []
    for place, name in [(path, path.name)] if path.is_file() else _walk(path, found.account):
        entry = _entry(place, name, path, limits, found)
        if entry.reason == GROWING:
            growing.append(entry.name)
        found.account.append(entry)
    found.account.sort()
    if growing:
        raise DataError(
            f"{_names(growing)}: still being written, as the name shows (B19). Nothing is published. Wait "
            "until the export is complete; remove what an earlier one left behind."
        )
    if not found.files:
        others = "; ".join(f"{entry.name}: {entry.reason}" for entry in found.account[:10])
        raise DataError(f"{path} contains no FHIR in JSON{f' ({others})' if others else ''}. {_WANTED}")
    return found


_WANTED = "Give the folder that a FHIR bulk export was saved in, with files such as Patient.ndjson."


def check_unchanged(files: list[InputFile]) -> None:
    """DataError where a file was changed while it was read."""
    changed = []
    for file in files:
        now = file.path.stat()
        if (now.st_size, now.st_mtime_ns) != (file.size, file.changed_ns):
            changed.append(file.name)
    if changed:
        raise DataError(
            f"{_names(changed)}: changed while being read, so the export is still being written (B19). "
            "Nothing is published. Wait until it is complete, then start again."
        )


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _walk(root: Path, account: list[Entry]) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, by name; folders that are not entered go into the account."""
    for place, folders, names in os.walk(root, onerror=_unreadable):
        here = Path(place)
        for folder in sorted(folders):
            name = _name(here / folder, root) + "/"
            reason, doubtful = _not_entered(here / folder, root)
            if reason:
                folders.remove(folder)
                account.append(Entry(name, SET_ASIDE, reason, 0, doubtful))
        folders.sort()
        for name in sorted(names):
            yield here / name, _name(here / name, root)


def _unreadable(err: OSError) -> None:
    raise DataError(
        f"{err.filename} cannot be read: {err.strerror}. Change its permissions, or move it away."
    )


def _name(path: Path, root: Path) -> str:
    """The path below the root, as text that can be written."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "replace")


def _not_entered(folder: Path, root: Path) -> tuple[str, bool]:
    """Why a folder is not looked into, "" where it is; and whether that is doubtful."""
    if folder.is_symlink():
        target = Path(os.path.realpath(folder))
        if target.is_dir() and target.is_relative_to(root.resolve()):
            return "link to a folder within", False
        return "link out of the folder", True
    hidden = folder.name.startswith(".") or folder.name == "__MACOSX"
    return ("hidden folder" if hidden else ""), False


def _entry(path: Path, name: str, root: Path, limits: Limits, found: Folder) -> Entry:
    """The account of one file, which joins the files of `found` if it holds records."""
    size, chosen = 0, path == root
    try:
        how, reason, doubtful = _by_place(path, root)
        if how == READ:
            status = path.stat()
            size = status.st_size
            file = InputFile(path, name, size, len(found.files), status.st_mtime_ns)
            how, reason, doubtful = _by_name(file, limits, found, chosen)
    except PermissionError as err:
        _unreadable(err)
        raise
    return Entry(name, how, reason, size, doubtful)


Judgement = tuple[str, str, bool]  # how, reason, whether that is doubtful


def _by_place(path: Path, root: Path) -> Judgement:
    """Files that are not opened: links out of the folder, and what is no file."""
    if path.is_symlink() and path != root:
        target = Path(os.path.realpath(path))
        if not target.exists() or target.is_symlink():
            return SET_ASIDE, "link to nothing", True
        if not target.is_relative_to(root.resolve()):
            return SET_ASIDE, "link out of the folder", True
        parts = target.relative_to(root.resolve()).parts
        if not any(part.startswith(".") for part in parts):
            return SET_ASIDE, "link to a file within", False
    if not stat.S_ISREG(path.stat().st_mode):
        return SET_ASIDE, "not a regular file", True
    return READ, "", False


def _by_name(file: InputFile, limits: Limits, found: Folder, chosen: bool) -> Judgement:
    """Files that must not be read because of their name; `chosen`: the user named this very file."""
    name = file.path.name
    data_name = bool(_DATA_NAME.search(name))
    if not chosen and name.startswith("."):
        return SET_ASIDE, "hidden file", False
    if not chosen and _BACKUP.search(name):
        return SET_ASIDE, "backup copy", False
    if not data_name and _PARTIAL.search(name):
        of = _PARTIAL.sub("", name)
        may_hold_data = _DATA_NAME.search(of) or _JSON_NAME.search(of)
        if may_hold_data or _by_content(file, limits, Folder([], [], [], []))[0] == READ:
            return REFUSED, GROWING, True
        return SET_ASIDE, "temporary file", False
    return _by_content(file, limits, found)


def _by_content(file: InputFile, limits: Limits, found: Folder) -> Judgement:
    """What the beginning of a file says that it is; one with records joins the files of `found`."""
    name = file.path.name
    data_name = bool(_DATA_NAME.search(name))
    with file.path.open("rb") as disk:
        packed = packing(disk.read(6))
    try:
        head = head_of(file, limits)
    except BrokenFile as err:
        return _data(file, found, err.reason) if data_name or _JSON_NAME.search(name) else _doubtful(packed)
    text = text_of(head)
    if head.startswith(_APPLE_FORK):
        return SET_ASIDE, "resource fork of a Mac", False
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        return SET_ASIDE, "archive: unpack it to have it read", True
    if not text:
        return (_data(file, found, EMPTY)[0], EMPTY, True) if data_name else (SET_ASIDE, EMPTY, False)
    if text.startswith(b"{") and is_log(text):
        found.logs.append(read_log(file, limits))
        return READ, LOG, False
    fhir = text[:1] in (b"{", b"[") and _FHIR.search(head) is not None
    if data_name or fhir:
        return _data(file, found, broken_text(head) or "", is_document(head))
    if text.startswith(b"{") and (manifest := read_manifest(file, limits)):
        found.manifests.append(manifest)
        return READ, MANIFEST, False
    return _other(name, head, text)


def _data(file: InputFile, found: Folder, reason: str, document: bool = False) -> Judgement:
    """A file with records; `reason` tells why none of them can be used."""
    deleted = "deleted" in file.name.lower().split("/")[:-1]
    form = DOCUMENT if document and not reason else LINES
    found.files.append(file._replace(form=form, deleted=deleted))
    return (REFUSED if reason and reason != EMPTY else READ), reason, bool(reason)


def _doubtful(packed: str | None) -> Judgement:
    return SET_ASIDE, f"broken {packed or ''} archive", True


def _other(name: str, head: bytes, text: bytes) -> Judgement:
    """A file without records that may be used; doubtful where its name or its words are those of FHIR."""
    if _XML.search(head):
        return SET_ASIDE, "FHIR in XML, which is not read", True
    of_export = _TYPE_NAME.search(name) or _LINES_NAME.search(name)
    doubtful = of_export is not None and not name.lower().endswith(_NO_EXPORT)
    if broken_text(head):
        return SET_ASIDE, "no UTF-8", doubtful
    return SET_ASIDE, "JSON without FHIR" if text[:1] in (b"{", b"[") else "no JSON", doubtful
