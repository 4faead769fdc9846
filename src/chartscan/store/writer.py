"""DatasetWriter: what a source writes into, and what turns it into a published dataset.

    with DatasetWriter(out, source="fhir", settings=settings) as writer:
        writer.write(events)                       # any order, any subjects, as often as wanted
        writer.accounting.accept("Patient.ndjson", "Patient")

Leaving the block without an error publishes; with an error nothing is published, and what was at `out`
stays as it was.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from chartscan import site_key
from chartscan.errors import ConfigError, DataError
from chartscan.files import own_place, sync
from chartscan.lock import OutputLock
from chartscan.schema import SPLITS, check
from chartscan.store import folder as dataset_folder
from chartscan.store.accounting import Accounting
from chartscan.store.config import DaysAfterLastEvent, FollowUp, StoreConfig
from chartscan.store.folder import read_manifest, write_manifest, writing
from chartscan.store.quarantine import (
    Quarantine,
    failed_quarantine_folder,
    hand_on_key,
    keep_quarantine,
    quarantine_folder,
    remove_quarantine,
)
from chartscan.store.sort import Repeats, sorted_events, write_shards
from chartscan.store.spool import Spool, Tally, amend
from chartscan.store.subjects import assign_split, identity_map, subject_map, without_patients

Progress = Callable[[int, int | None], None]
Bar = Callable[[], AbstractContextManager[Progress]]


class DatasetWriter:
    """Gathers events, codes and subjects, then sorts, shards, describes and publishes them as one dataset.

    `settings` are those of the source and `site` the site file, both for the manifest. ConfigError before any
    work when `out` exists and may not be replaced, or when another run is writing it. `sorting()` is entered
    when the sorting begins, not before, and gives a function `(rows, of)` that follows it.
    """

    def __init__(
        self,
        out: Path,
        *,
        source: str,
        settings: dict[str, Any] | None = None,
        site: dict[str, Any] | None = None,
        config: StoreConfig | None = None,
        overwrite: bool = False,
        sorting: Bar | None = None,
    ):
        self.out = own_place(Path(out)).resolve()
        self.config = config or StoreConfig()
        self.accounting = Accounting()
        self._source = source
        self._settings = settings or {}
        self._site = site or {}
        self._overwrite = overwrite
        self._sorting = sorting or (lambda: nullcontext(_unwatched))
        self._lock = OutputLock(self.out)
        self._book = dataset_folder.CodeBook()
        self._subjects: list[pa.Table] = []
        self._splits: list[pa.Table] = []
        self._follow_up: FollowUp = DaysAfterLastEvent()
        self._published = False

    def __enter__(self) -> "DatasetWriter":
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            dataset_folder.recover(self.out)
            _check_replaceable(self.out, self._overwrite)
            self._staging = dataset_folder.make_staging(self.out)
        except BaseException:
            self._lock.release()
            raise
        self.spool_folder = self._staging / "spool"  # workers put their own Spool here
        self._spool = Spool(self.spool_folder)
        self.quarantine = Quarantine(self._staging / "quarantine", self.config.keep_quarantine_content)
        try:
            self.spool_folder.mkdir()
            for earlier in (quarantine_folder(self.out), failed_quarantine_folder(self.out)):
                if hand_on_key(earlier, self.quarantine.folder):
                    break
        except BaseException as err:
            self._leave(err)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = error
        try:
            if error is None:
                self._publish()
        except BaseException as err:
            failure = err
            raise
        finally:
            self._leave(failure)

    def write(self, events: pa.Table, places: np.ndarray | None = None) -> None:
        """Add rows of schema.EVENTS in any order; DataError for a broken rule.

        `places` (int64, not negative) are where in the input each comes from, for `amend`.
        """
        self._spool.write(events, places)

    def amend(self, dropped: np.ndarray, late: np.ndarray, times: np.ndarray) -> None:
        """Drop events of places `dropped`; those of `late` become available at `times` or later.

        `times` are microseconds. Call it once, when everything was written.
        """
        if not len(dropped) and not len(late):
            return
        self._spool.close()
        order = np.argsort(late)
        for path in self.spool_files():
            amend(path, np.sort(dropped), late[order], times[order])

    def spool_files(self) -> list[Path]:
        """The files in which events wait, of this writer and of workers."""
        return sorted(self.spool_folder.glob("*.parquet"))

    def code(self, code: str, description: str | None, parent_codes: Iterable[str] | None = None) -> None:
        """Describe a code. Codes that no event uses are left out in the end."""
        self._book.add(code, description, parent_codes)

    def describe_codes(self, table: pa.Table) -> None:
        """Describe many codes: columns code, description and, optionally, parent_codes."""
        parents = table["parent_codes"].to_pylist() if "parent_codes" in table.column_names else None
        for i, (code, text) in enumerate(
            zip(table["code"].to_pylist(), table["description"].to_pylist(), strict=True)
        ):
            self._book.add(code, text, parents[i] if parents else None)

    def subjects(self, table: pa.Table) -> None:
        """Add rows of subjects.SUBJECTS: which patient of the source is which subject.

        Where any are given, every subject that has events must be among them.
        """
        self._subjects.append(table)

    def splits(self, table: pa.Table) -> None:
        """Use the splits of the source (schema.SPLITS, with every subject) in place of ours."""
        self._splits.append(check(table, SPLITS, "splits"))

    def set_follow_up(self, rule: FollowUp) -> None:
        """Set until when the source followed its subjects; a rule in the configuration wins."""
        self._follow_up = rule

    def _publish(self) -> None:
        self._spool.close()
        self.accounting.check()
        if self.config.strict:
            self.accounting.check_warnings()
        self.accounting.check_budget(self.config.budget, str(failed_quarantine_folder(self.out)))
        folder = self._staging / "dataset"
        for name in ("data", "metadata"):
            (folder / name).mkdir(parents=True)
        counts = self._write_files(folder)
        self._move_quarantine(folder)
        write_manifest(folder, self._facts(counts))
        dataset_folder.publish(folder, self.out)
        self._published = True
        with writing(self.out.parent):
            sync(self.out.parent)

    def _move_quarantine(self, folder: Path) -> None:
        """Put the bad lines into the dataset that is published."""
        self.quarantine.finish(self.accounting.as_dict())
        if self.quarantine.folder.is_dir():
            self.quarantine.folder = self.quarantine.folder.rename(quarantine_folder(folder))

    def _write_files(self, folder: Path) -> dict[str, int]:
        """Data and metadata; gives the counts of the manifest."""
        files = self.spool_files()
        if not files:
            raise DataError(
                f"{self._source}: no events were found, nothing is published. Is it the right folder?"
            )
        scratch = self._staging / "scratch"
        scratch.mkdir()
        with self._sorting() as progress:
            with Tally(files, scratch, self.config.memory_mb, self.config.threads) as tally:
                codes, sizes = self._book.table(tally.codes()), tally.sizes()
            rows = sum(codes["event_count"].to_pylist())
            repeats = Repeats()
            events = repeats.watch(sorted_events(files, sizes, scratch, self.config.bytes_at_once))
            write_shards(_followed(events, rows, progress), folder / "data", self.config.shard_rows)
        found = sizes["subject_id"].to_numpy()
        subjects = self._subject_map(found)
        self._write_metadata(folder, codes, subjects)
        self.accounting.events_out = rows
        if repeats.count:
            self.accounting.flagged("repeated_events", repeats.count)
        return {
            "events": rows,
            "subjects": len(np.unique(subjects["subject_id"])),
            "subjects_with_events": len(found),
            "codes": codes.num_rows,
            "shards": len(list((folder / "data").iterdir())),
        }

    def _subject_map(self, found: np.ndarray) -> pa.Table:
        if not self._subjects:
            return identity_map(found)
        subjects = subject_map(self._subjects)
        unknown = int((~np.isin(found, subjects["subject_id"])).sum())
        if unknown:
            raise DataError(
                f"{self._source}: {unknown} subjects have events but no row in the subject table."
            )
        return subjects

    def _write_metadata(self, folder: Path, codes: pa.Table, subjects: pa.Table) -> None:
        ids = np.unique(subjects["subject_id"])
        dataset_folder.write_codes(folder, codes)
        dataset_folder.write_subjects(folder, without_patients(subjects) if self._subjects else subjects)
        dataset_folder.write_splits(folder, ids, self._split_of(ids))
        dataset_folder.write_description(folder, self._source)

    def _split_of(self, ids: np.ndarray) -> np.ndarray:
        if not self._splits:
            return assign_split(ids, self.config.seed, self.config.fractions)
        given = pa.concat_tables(self._splits).sort_by("subject_id")
        if not np.array_equal(given["subject_id"].to_numpy(), ids):
            raise DataError(
                f"{self._source}: the splits must name every subject exactly once ({len(ids)} subjects)."
            )
        return given["split"].to_numpy(zero_copy_only=False)

    def _facts(self, counts: dict[str, int]) -> dict[str, Any]:
        return {
            "source": self._source,
            "site_key": site_key.fingerprint(),
            "settings": self._settings,
            "site": self._site,
            "store": msgspec.to_builtins(self.config),
            "follow_up": msgspec.to_builtins(self.config.follow_up or self._follow_up),
            "counts": counts,
            "accounting": self.accounting.as_dict(),
            "recognition": self.accounting.recognition.as_dict(),
        }

    def _leave(self, failure: BaseException | None) -> None:
        """Tidy up: every step is tried, and the first error of all is raised."""
        late = None
        for step in (
            self._spool.abandon,
            self._keep_quarantine,
            lambda: dataset_folder.remove_staging(self._staging),
            self._lock.release,
        ):
            try:
                step()
            except BaseException as err:
                late = late or err
        if late is not None and failure is None:
            raise late
        if late is not None and failure is not None:
            failure.add_note(f"Tidying up failed too: {late}")

    def _keep_quarantine(self) -> None:
        """The bad lines of a run that failed lie beside the dataset, until a run succeeds."""
        beside = failed_quarantine_folder(self.out)
        if self._published:
            remove_quarantine(beside)
            return
        self.quarantine.finish(self.accounting.as_dict())
        keep_quarantine(self.quarantine.folder, beside)


def _check_replaceable(out: Path, overwrite: bool) -> None:
    """ConfigError unless `out` is free, empty, or a dataset to be replaced."""
    beside = failed_quarantine_folder(out)
    if beside.exists() and not beside.is_dir():
        raise ConfigError(f"{beside} is in the way of the quarantine folder. Choose another output folder.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        read_manifest(out)
    except DataError as err:
        raise ConfigError(
            f"{out} exists and is not a chartscan dataset. Choose another output folder. ({err})"
        ) from None
    if not overwrite:
        raise ConfigError(
            f"{out} already holds a dataset. Choose another folder, or allow replacing: --overwrite"
        )


def _followed(tables: Iterable[pa.Table], total: int, progress: Progress) -> Iterable[pa.Table]:
    done = 0
    for table in tables:
        yield table
        done += table.num_rows
        progress(done, total)


def _unwatched(rows: int, of: int | None) -> None:
    """Takes progress that is not shown."""
