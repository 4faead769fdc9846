"""Which lines have an id that another line of their type has too, in bounded memory.

Of every line 64 bits of its type and id and its place are kept, on disk once there are many. Two ids that by
chance share them cost a second look at both lines, and nothing else.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from chartscan.sources.fhir.retractions import Deletion
from chartscan.store.writing import writing

_KEY = np.dtype([("key", "i8"), ("place", "i8")])
_PARTS = 64
_PLACE_BITS = 40  # of a line's number; those above are its file's, see `index.place_of`
IN_MEMORY = 4 << 20  # bytes


class KeyedFile:
    """Records with a field `key`, in memory, or from some size on in files by ranges of their key."""

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
        """Numbers of the lines whose id comes again or is deleted, of every file that has some, in order."""
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
