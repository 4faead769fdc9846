"""Several lines with one id: which there are, and which of them counts."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.sources.fhir.references import ALWAYS, NO_TIME, Deletion, moment_of, version_in
from chartscan.sources.fhir.remember import LIMIT
from chartscan.sources.fhir.resources import DECODERS, Meta
from chartscan.store.folder import writing

# Lines whose id repeats, in bounded memory: 64 bits of type and id, and the place. A collision costs only a
# second look at both lines.

_KEY = np.dtype([("key", "i8"), ("place", "i8")])
_PARTS = 64
_PLACE_BITS = 40  # of a line's number; those above are its file's, see `index.place_of`
IN_MEMORY = 4 << 20  # bytes


class KeyedFile:
    """Records with a field `key`, in memory or in files by key range."""

    def __init__(self, folder: Path, kind: np.dtype):
        self._folder = folder
        self._kind = kind
        self._waiting: list[np.ndarray] = []
        self._bytes = 0
        self._on_disk = False

    def add(self, records: np.ndarray) -> None:
        """Keep records; they are not copied."""
        self._waiting.append(records)
        self._bytes += records.nbytes
        if self._bytes >= IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        rows = np.concatenate(self._waiting)
        part = (rows["key"].view(np.uint64) >> np.uint64(64 - 6)).astype(np.int8)
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(_PARTS + 1))
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in range(_PARTS):
            path = self._folder / str(number)
            with writing(path), path.open("ab") as file:
                file.write(rows[order[ends[number] : ends[number + 1]]].tobytes())
        self._waiting, self._bytes, self._on_disk = [], 0, True

    def parts(self) -> Iterator[np.ndarray]:
        """All records, once; those of one key are in one part."""
        if not self._on_disk:
            yield np.concatenate([np.empty(0, self._kind), *self._waiting])
            return
        if self._waiting:
            self._spill()
        for number in range(_PARTS):
            path = self._folder / str(number)
            yield np.fromfile(path, self._kind)
            path.unlink()


class Repeats:
    """Remembers the ids of lines; `folder` holds what does not fit into memory."""

    def __init__(self, folder: Path):
        self._keys = KeyedFile(folder, _KEY)
        self._kind = ""
        self._ids: list[int] = []  # hashes, of lines of this kind that are not yet in `_keys`
        self._places: list[int] = []

    def note(self, kind: str, ids: Iterable[str], places: Iterable[int]) -> None:
        """Remember lines of one type."""
        if kind != self._kind:
            self.gather()
            self._kind = kind
        self._ids += map(hash, ids)
        self._places += places

    def gather(self) -> None:
        """Keep as numbers what was noted: once for each block."""
        if self._ids:
            found = np.empty(len(self._ids), _KEY)
            found["key"], found["place"] = self._ids, self._places
            found["key"] ^= hash(self._kind)
            self._keys.add(found)
            self._ids, self._places = [], []

    def found(self, deletions: Sequence[Deletion]) -> dict[int, np.ndarray]:
        """Return the numbers of repeated or deleted lines, sorted, by file."""
        self.gather()
        deleted = np.array([hash(one.id) ^ hash(one.kind) for one in deletions], np.int64)
        places = [_repeated(part, deleted) for part in self._keys.parts()]
        return by_file(np.concatenate(places)) if places else {}


def by_file(places: np.ndarray) -> dict[int, np.ndarray]:
    """Numbers of the lines at `places`, in order, by the number of their file."""
    files, lines = places >> _PLACE_BITS, places & ((1 << _PLACE_BITS) - 1)
    return {number: np.sort(lines[files == number]) for number in np.unique(files).tolist()}


def _repeated(records: np.ndarray, deleted: np.ndarray) -> np.ndarray:
    """The places of records whose key comes again, or is among those `deleted`."""
    keys = records["key"]
    order = np.argsort(keys)
    same = keys[order[1:]] == keys[order[:-1]]
    again = np.zeros(len(keys), bool)
    again[order[1:][same]] = again[order[:-1][same]] = True
    return records["place"][again | np.isin(keys, deleted)]


# Which line counts where several have one id (but Patients, Encounters, Medications: see `references.Table`).
# The highest numeric `versionId` is valid; else the latest `lastUpdated`; else the later line, and then the
# id is undecided. A version that is left out on purpose (entered in error, cancelled, deleted) removes older
# ones too. A corrected Observation keeps its earlier result until the correction became known: see
# `_history`.

MERGED, RETRACTED, GONE = range(3)
REASONS = {RETRACTED: "retracted by a later version", GONE: "deleted"}

_LEFT_OUT, _TIMED, _PRELIMINARY, _DELETION = 1, 2, 4, 8  # bits of a record's state
_RECORD = np.dtype(
    [
        ("key", "i8"),
        ("check", "i8"),
        ("place", "i8"),
        ("version", "i8"),
        ("updated", "i8"),
        ("known", "i8"),  # available_time of its first event
        ("content", "u8"),  # of its events, but for when they became known
        ("subject", "i8"),  # of its events, 0 where there is none
        ("time", "i8"),  # of its first event
        ("kind", "i1"),
        ("state", "i1"),
    ]
)
_KINDS = tuple(DECODERS)
_KIND_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_KIND_KEYS = np.array([hash(kind) for kind in _KINDS], np.int64)
_SALT = "\0"
_Line = tuple[str, int, str, int, str | None, str | None]  # id, place, kind, state, version, updated
_NO_META = Meta()
_OBSERVATION, _CONDITION = _KIND_NUMBERS["Observation"], _KIND_NUMBERS["Condition"]


class Verdict(NamedTuple):
    """What the versions decide about lines that were accepted."""

    places: np.ndarray  # of the lines whose events are dropped, int64
    kinds: np.ndarray  # numbers, see `kind_name`
    outcomes: np.ndarray  # MERGED, RETRACTED or GONE
    late_places: np.ndarray  # of corrections, which became known at
    late_times: np.ndarray
    undecided: np.ndarray  # places of all lines of undecided Conditions
    flags: Counter[str]
    deleted_and_exported: int  # ids
    of_two_patients: int  # ids that cannot be one resource, as they name two patients


class Versions:
    """Gathers a record of each line; `folder` holds those that do not fit into memory."""

    def __init__(self, folder: Path):
        self._noted: list[_Line] = []  # of the block that is read now
        self._gathered: list[np.ndarray] = []  # their records
        self.waiting = 0  # lines that `flush` has not seen
        self._versions: dict[str | None, int] = {None: -1}  # by how they are written
        self._updates: dict[str | None, int] = {None: NO_TIME}
        self._records = KeyedFile(folder, _RECORD)

    def note(self, kind: str, resource: Any, place: int, left_out: bool) -> None:
        """Remember one line; `left_out` is one that is left out on purpose."""
        state = _LEFT_OUT if left_out else 0
        if kind == "Observation":
            if resource.issued:
                state |= _TIMED
            if resource.status == "preliminary":
                state |= _PRELIMINARY
        meta = resource.meta or _NO_META
        self._noted.append((resource.id, place, kind, state, meta.versionId, meta.lastUpdated))

    def gather(self) -> None:
        """Move noted numbers to their store: once a block, while in cache."""
        if not self._noted:
            return
        ids, places, kinds, states, versions, updates = zip(*self._noted, strict=True)
        self._noted = []
        columns = {
            "key": map(hash, ids),
            "check": [hash(name + _SALT) for name in ids],
            "place": places,
            "kind": map(_KIND_NUMBERS.__getitem__, kinds),
            "state": states,
            "version": _looked_up(self._versions, versions, version_in),
            "updated": _looked_up(self._updates, updates, moment_of),
        }
        numbers = {name: np.fromiter(column, np.int64, len(ids)) for name, column in columns.items()}
        found = _records(numbers.pop("key"), numbers.pop("check"), numbers.pop("kind"))
        for name, column in numbers.items():
            found[name] = column
        self._gathered.append(found)
        self.waiting += len(found)

    def flush(self, events: pa.Table | None = None, places: np.ndarray | None = None) -> None:
        """Set the waiting lines aside with their `events`, each from its place."""
        self.gather()
        if not self.waiting:
            return
        records = np.concatenate(self._gathered)
        if events is not None and places is not None and len(places):
            _set_contents(records, events, places)
        self._records.add(records)
        self._gathered, self.waiting = [], 0

    def verdict(self, deletions: Sequence[Deletion]) -> Verdict:
        """Compare all records with each other and with the deletions."""
        self.flush()
        wanted = [d for d in deletions if d.kind in _KIND_NUMBERS]
        if wanted:
            keys = np.array([[hash(d.id), hash(d.id + _SALT), _KIND_NUMBERS[d.kind]] for d in wanted])
            found = _records(*keys.T)
            found["updated"], found["state"] = [d.time for d in wanted], _DELETION
            self._records.add(found)
        parts = [_decide(part) for part in self._records.parts()]
        return _united([part for part in parts if part is not None])


def kind_name(number: int) -> str:
    """The type of resource that a number of Verdict.kinds stands for."""
    return _KINDS[number]


def _looked_up(
    known: dict[str | None, int], texts: tuple[str | None, ...], read: Callable[[str | None], int]
) -> Iterator[int]:
    """What `read` makes of each text; most come again and again."""
    if len(known) > LIMIT:
        known.clear()
    for text in set(texts) - known.keys():
        known[text] = read(text)
    return map(known.__getitem__, texts)


def _records(keys: np.ndarray, checks: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Records of ids by their two hashes: Python's of text is keyed anew in each process, 64 bits, fast."""
    found = np.zeros(len(keys), _RECORD)
    found["key"], found["check"], found["kind"] = keys ^ _KIND_KEYS[kinds], checks, kinds
    found["version"], found["updated"], found["known"] = -1, NO_TIME, NO_TIME
    return found


def _set_contents(records: np.ndarray, events: pa.Table, places: np.ndarray) -> None:
    """What the events of each line say, as a number, and when the first of them became known."""
    begins = np.flatnonzero(np.diff(places, prepend=places[0] - 1))
    contents = np.add.reduceat(_row_digests(events), begins)
    known = _numbers(events["available_time"])[begins]
    at = np.searchsorted(records["place"], places[begins]).clip(max=len(records) - 1)  # places only grow
    own = records["place"][at] == places[begins]  # events of Patients and Encounters are not decided here
    subjects, times = (_numbers(events[name])[begins] for name in ("subject_id", "time"))
    columns = {"content": contents, "known": known, "subject": subjects, "time": times}
    for name, values in columns.items():
        records[name][at[own]] = values[own]


def _row_digests(events: pa.Table) -> np.ndarray:
    """64 bits for what each event says, its availability apart."""
    digests = np.zeros(events.num_rows, np.uint64)
    for field in events.schema:
        if field.name in ("available_time", "earliest_available_time"):
            continue
        values = _numbers(events[field.name]).view(np.uint64)
        digests = (digests ^ values) * np.uint64(0x9E3779B97F4A7C15)
        digests ^= digests >> np.uint64(29)
    return digests


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column as int64 that are equal where the values are; null is a number of its own."""
    values = column.combine_chunks()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        coded = values.dictionary_encode()
        words = np.array([NO_TIME, *map(hash, coded.dictionary.to_pylist())], np.int64)
        return words[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False) + 1]
    if pa.types.is_floating(values.type):
        bits = values.fill_null(0).to_numpy(zero_copy_only=False).view(np.int32).astype(np.int64)
        return np.where(values.is_null().to_numpy(zero_copy_only=False), NO_TIME, bits)
    return values.cast(pa.int64()).fill_null(NO_TIME).to_numpy(zero_copy_only=False)


def _decide(records: np.ndarray) -> Verdict | None:
    """The verdict on one part; None where no id comes twice."""
    records = records[np.argsort(records["key"], kind="stable")]
    same = records["key"][1:] == records["key"][:-1]
    again = np.append(same, False) | np.append(False, same) if len(records) else np.zeros(0, bool)
    records = records[again]
    if not len(records):
        return None
    group = np.cumsum(np.append(True, records["key"][1:] != records["key"][:-1])) - 1
    _refuse_collisions(records)
    deletion = (records["state"] & _DELETION) > 0
    deleted_at = np.full(group[-1] + 1, NO_TIME)
    np.maximum.at(deleted_at, group[deletion], records["updated"][deletion])
    records, group = _ranked(records[~deletion], group[~deletion])
    if not len(records):
        return None
    return _verdict(records, group, deleted_at)


def _refuse_collisions(records: np.ndarray) -> None:
    same = records["key"][1:] == records["key"][:-1]
    other = (records["check"][1:] != records["check"][:-1]) | (records["kind"][1:] != records["kind"][:-1])
    if (same & other).any():
        raise DataError("Two ids have the same 64-bit key. Start again: every run has other keys.")


def _ranked(records: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Records by group, in each group the older version first."""
    lowest = np.full(group[-1] + 1 if len(group) else 0, ALWAYS)
    np.minimum.at(lowest, group, records["version"])
    counted = lowest[group] >= 0  # all versions of the id are numbers
    first = np.where(counted, records["version"], records["updated"])
    second = np.where(counted, records["updated"], records["version"])
    order = np.lexsort((records["place"], second, first, group))
    return records[order], group[order]


def _verdict(records: np.ndarray, group: np.ndarray, deleted_at: np.ndarray) -> Verdict:
    last = np.append(group[1:] != group[:-1], True)
    newest = records[last][np.searchsorted(group[last], group)]  # of each record's group
    both = np.unique(group[deleted_at[group] > NO_TIME])
    left_out = (records["state"] & _LEFT_OUT) > 0
    gone = (deleted_at[group] > NO_TIME) & (deleted_at[group] >= newest["updated"])
    retracted = ~gone & ((newest["state"] & _LEFT_OUT) > 0)
    differs = records["content"] != newest["content"]
    older = ~gone & ~retracted & ~last & ~left_out
    kept, late_places, late_times = _histories(records, group, older & differs, ~gone & ~retracted)
    dropped = (gone | retracted | older) & ~left_out & ~kept
    left_out_differs = left_out != ((newest["state"] & _LEFT_OUT) > 0)
    outcome = np.where(gone, GONE, np.where(retracted, RETRACTED, MERGED))
    same_version = (records["version"] == newest["version"]) & (records["updated"] == newest["updated"])
    tied = ~gone & ~last & same_version & (differs | left_out_differs)
    undecided = np.isin(group, group[tied]) & (tied | last) & (records["kind"] == _CONDITION)
    flags = _flags(records["kind"], {"versions_differ": older & differs, "versions_undecided": tied})
    flags["observation_earlier_result_kept"] = int(kept.sum())
    return Verdict(
        records["place"][dropped],
        records["kind"][dropped],
        outcome[dropped].astype(np.int8),
        late_places,
        late_times,
        records["place"][undecided],
        +flags,
        len(both),
        _of_two_patients(records, newest, group, same_version),
    )


def _of_two_patients(
    records: np.ndarray, newest: np.ndarray, group: np.ndarray, same_version: np.ndarray
) -> int:
    """How many ids name two patients, in lines of one version or of other times: no correction does both."""
    told = (records["subject"] != 0) & (newest["subject"] != 0)
    other = told & (records["subject"] != newest["subject"])
    return len(np.unique(group[other & (same_version | (records["time"] != newest["time"]))]))


def _flags(kinds: np.ndarray, masks: dict[str, np.ndarray]) -> Counter[str]:
    return Counter(
        {
            f"{_KINDS[kind].lower()}_{name}": int((mask & (kinds == kind)).sum())
            for name, mask in masks.items()
            for kind in np.unique(kinds)
        }
    )


def _histories(
    records: np.ndarray, group: np.ndarray, differing: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which older results of Observations stay; and the places and times of what corrected them."""
    kept = np.zeros(len(records), bool)
    places, times = [], []
    of_interest = np.unique(group[differing & (records["kind"] == _OBSERVATION) & valid])
    begins, ends = (np.searchsorted(group, of_interest, side) for side in ("left", "right"))
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        for at, time in _history(records[begin:end]):
            kept[begin + at] = at < end - begin - 1
            if time is not None:
                places.append(records["place"][begin + at])
                times.append(time)
    return kept, np.array(places, np.int64), np.array(times, np.int64)


def _history(versions: np.ndarray) -> list[tuple[int, int | None]]:
    """Versions of one Observation, oldest first -> those that stay, and since when they were known where
    that is later than they say.

    A version is known from when it was issued, else from its `lastUpdated`; the oldest from when a single one
    would be. One that says the same as the next that stays, was known no earlier, or was preliminary without
    a time of its own, is dropped. So is everything up to the last version that was left out.
    """
    states, known = versions["state"].tolist(), versions["known"].tolist()
    untimed = [not state & _TIMED for state in states]
    since = [
        max(moment, updated) if no_time else moment
        for moment, updated, no_time in zip(known, versions["updated"].tolist(), untimed, strict=True)
    ]
    first = max((i + 1 for i, state in enumerate(states) if state & _LEFT_OUT), default=0)
    since[first] = known[first]
    stay = [len(versions) - 1]
    for i in range(len(versions) - 2, first - 1, -1):
        later = stay[-1]
        same = versions["content"][i] == versions["content"][later]
        if not (same or since[i] >= since[later] or (states[i] & _PRELIMINARY and untimed[i])):
            stay.append(i)
    oldest = stay[-1]
    return [(i, since[i] if i != oldest and since[i] > known[i] else None) for i in stay]


def _united(parts: list[Verdict]) -> Verdict:
    def column(i: int, kind: type[np.integer]) -> np.ndarray:
        return np.concatenate([np.empty(0, kind), *(part[i] for part in parts)])

    numbers = column(0, np.int64), column(1, np.int8), column(2, np.int8)
    places = column(3, np.int64), column(4, np.int64), column(5, np.int64)
    flags = sum((part.flags for part in parts), Counter[str]())
    deleted = sum(part.deleted_and_exported for part in parts)
    return Verdict(*numbers, *places, flags, deleted, sum(part.of_two_patients for part in parts))
