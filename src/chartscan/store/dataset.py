"""Dataset: reading a published dataset, one subject or one shard at a time.

It belongs to the moment it was opened: when a later run replaces the folder, reading on raises DataError
instead of mixing two datasets. A file is compared with its SHA-256 when it is first read (120 MB take 0.2 s),
so that damage on the disk is an error and never another number.
"""

from collections.abc import Iterator, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chartscan.errors import DataError
from chartscan.files import sha256
from chartscan.schema import HELD_OUT, TRAIN, TUNING, subject_starts
from chartscan.store.folder import published, read_manifest


class Dataset:
    """A dataset folder with its manifest. Make one with `Dataset.open`."""

    def __init__(self, path: Path, manifest: dict[str, Any]):
        self.path = path
        self.manifest = manifest
        self._inode = path.stat().st_ino
        self._verified: set[str] = set()  # files that were as written when they were first read

    @classmethod
    def open(cls, path: Path | str) -> "Dataset":
        """Open the dataset at `path`. DataError where there is none, or a file is missing."""
        folder = published(Path(path).resolve())
        if not folder.is_dir():
            raise DataError(f"{path}: no such folder. Make a dataset with: chartscan ingest SOURCE IN {path}")
        dataset = cls(folder, read_manifest(folder))
        missing = [name for name in dataset.files if not (folder / name).is_file()]
        if missing:
            raise DataError(
                f"{path}: {len(missing)} files are missing, first {missing[0]}. Ingest the data again."
            )
        return dataset

    @property
    def files(self) -> list[str]:
        """Relative paths of all files but the manifest."""
        return sorted(self.manifest["files"])

    @property
    def follow_up(self) -> dict[str, Any]:
        """The rule that says until when each subject was followed."""
        return self.manifest["follow_up"]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content: equal data, equal fingerprint."""
        return self.manifest["fingerprint"]

    def shards(self) -> list[Path]:
        """The files of events, in the order of their subjects."""
        found = [self.path / name for name in self.files if name.startswith("data/")]
        return sorted(found, key=lambda path: int(path.stem))

    def read_shard(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
        """Events of one of `shards()`; every column, or those named."""
        return self._read(Path(path), columns)

    def subjects(
        self, columns: Sequence[str] | None = None, split: str | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """Yield each subject with its events, in order, one shard at a time."""
        wanted = None if split is None else self.subject_ids(split)
        for path in self.shards():
            yield from self.shard_subjects(path, columns, wanted)

    def shard_subjects(
        self, path: Path, columns: Sequence[str] | None = None, wanted: np.ndarray | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """Yield one shard's subjects with events, only sorted ids `wanted` if given."""
        needed = None if columns is None else list(dict.fromkeys(["subject_id", *columns]))
        table = self.read_shard(path, needed).combine_chunks()
        ids = table["subject_id"].to_numpy()
        bounds = np.append(subject_starts(ids), len(ids))
        keep = np.ones(len(bounds) - 1, bool) if wanted is None else np.isin(ids[bounds[:-1]], wanted)
        shown = table if columns is None else table.select(list(columns))
        for i in np.flatnonzero(keep):
            begin, end = int(bounds[i]), int(bounds[i + 1])
            yield int(ids[begin]), shown.slice(begin, end - begin)

    def split_table(self) -> pa.Table:
        """schema.SPLITS, sorted by subject."""
        return self._read(self.path / meds.subject_splits_filepath)

    def splits(self) -> dict[int, str]:
        """The split of every subject."""
        table = self.split_table()
        return dict(zip(table["subject_id"].to_pylist(), table["split"].to_pylist(), strict=True))

    def subject_ids(self, split: str | None = None) -> np.ndarray:
        """Return sorted subject ids of a split or all (n,), also those without events."""
        table = self.split_table()
        ids = table["subject_id"].to_numpy()
        if split is None:
            return ids
        if split not in (TRAIN, TUNING, HELD_OUT):
            raise DataError(f"No split '{split}'. Known: {TRAIN}, {TUNING}, {HELD_OUT}.")
        return ids[table["split"].to_numpy(zero_copy_only=False) == split]

    def codes(self) -> pa.Table:
        """folder.CODES: every code of the events with its description and counts, sorted by code."""
        return self._read(self.path / meds.code_metadata_filepath)

    def subject_map(self) -> pa.Table:
        """The subjects; where ids are open (no site key), as subjects.SUBJECTS: which patient is which."""
        return self._read(self.path / "metadata" / "subjects.parquet")

    def verify(self) -> None:
        """Read every file and compare its SHA-256; DataError naming those that changed."""
        wrong = [name for name in self.files if not self._as_written(name)]
        if wrong:
            raise DataError(f"{self.path}: changed since written: {', '.join(wrong)}. Ingest the data again.")

    def validate(self) -> None:
        """Check the rules of MEDS and ours; DataError listing every violation."""
        from chartscan.store.validate import violations

        found = violations(self.path)
        if found:
            raise DataError(f"{self.path}: {len(found)} rules broken:\n" + "\n".join(found))

    def _read(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
        try:
            # No file of Python's: Arrow's threads would read it, and abort a process that ends meanwhile.
            with pa.OSFile(str(path)) as file:
                self._check_not_replaced()
                self._verify_once(path, file)
                return pq.ParquetFile(file).read(None if columns is None else list(columns))
        except (OSError, pa.ArrowInvalid) as err:
            self._check_not_replaced()
            raise DataError(f"{path}: cannot be read; damaged or removed. Ingest the data again.") from err

    def _verify_once(self, path: Path, file: pa.NativeFile) -> None:
        """DataError when a file of the dataset, open as `file`, is not as it was written; first time only."""
        name = path.relative_to(self.path).as_posix()
        if name in self._verified:
            return
        if file_digest(file, "sha256").hexdigest() != self._digest(name):
            raise DataError(f"{path}: damaged, its SHA-256 is not the one written. Ingest the data again.")
        file.seek(0)
        self._verified.add(name)

    def _as_written(self, name: str) -> bool:
        try:
            return sha256(self.path / name) == self._digest(name)
        except OSError:
            return False

    def _digest(self, name: str) -> str:
        return self.manifest["files"][name]["sha256"]

    def _check_not_replaced(self) -> None:
        """DataError where the folder was replaced. Called after opening a file, it holds for the file too."""
        if not self.path.exists() or self.path.stat().st_ino != self._inode:
            raise DataError(f"{self.path} was replaced while it was being read. Start again.")
