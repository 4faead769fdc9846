"""What an export says about itself: manifests of bulk exports, and the log of the standard bulk client.

A manifest is the JSON that the server ends an export with: when it was made, which files it has, how many
resources are in them, and what failed (https://hl7.org/fhir/uv/bulkdata/export.html). The log is written by
the client that fetched the files: one JSON object a line, each with an `exportId` and an `eventId`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

from chartscan.sources.fhir.lines import BrokenFile, InputFile, Limits, blocks, opened
from chartscan.store.accounting import UNROUTED

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
    """What a log says about the exports it is of; the last one decides whether they are complete."""
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
    """The last moment at which an export was made, by all that tell; None where none does."""
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
    """Where what was read is not what manifests and logs say: a flag and a sentence for each.

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
