"""FHIR R4 bulk NDJSON -> EVENTS.

Two passes: the first indexes what others refer to (`index`), the second turns every line into events or
counts why not (`reader`). What is not decided here: sorting, shards and duplicates among events, which are
the store's.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chartscan.errors import DataError
from chartscan.sources.fhir.clock import micros_of
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.decode import ERROR_REPORT
from chartscan.sources.fhir.folder import Folder, check_unchanged, contradictions, latest, survey
from chartscan.sources.fhir.index import read_index
from chartscan.sources.fhir.lines import InputFile, Limits
from chartscan.sources.fhir.mappers import Judge
from chartscan.sources.fhir.reader import Reader
from chartscan.sources.fhir.wrapped import Records
from chartscan.store.accounting import Accounting
from chartscan.store.config import ExportTime
from chartscan.store.writer import DatasetWriter

Progress = Callable[[int, int | None], None]

__all__ = ["Config", "read"]


def read(
    path: Path,
    writer: DatasetWriter,
    config: Config | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the events of a folder of FHIR JSON into `writer`.

    Lines that cannot be used go to the writer's quarantine; what is doubtful about the folder goes to its
    accounting, as a warning. `progress(bytes_done, bytes_total)` counts bytes on disk, over both passes,
    and a third over files in which ids come again.
    DataError when the folder holds nothing usable, or is still being written.
    """
    config, path = config or Config(), Path(path)
    limits = Limits(config.line_limit_mb << 20, config.archive_ratio_limit, config.archive_limit_mb << 20)
    folder = survey(path, limits)
    files, records, codes = folder.files, Records(limits), CodeBook(config)
    judge = Judge(config)
    exported = latest(folder.manifests, folder.logs)
    index = read_index(
        files, records, config, codes, _reporter(files, 0, progress), judge, micros_of(exported)
    )
    if not len(index.tables["Patient"]) and not config.allow_missing:
        raise DataError(f"{path} contains no Patient. Add the Patient file, or set allow_missing.")
    reader = Reader(config, records, index, codes, writer, judge)
    with _seldom_collected():
        for file in files:
            reader.read(file, _reporter(files, 1, progress))
    reader.finish(_reporter(files, 2, progress))
    check_unchanged(files)
    _account(folder, writer.accounting, config.allow_missing)
    if exported is not None and not index.register.shifted:  # the export's time says nothing of shifted dates
        writer.set_follow_up(ExportTime(exported))


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Let Python look for cycles among objects seldom: reading makes none, and many objects."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], 100_000), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _account(folder: Folder, accounting: Accounting, allow_missing: bool) -> None:
    """Put into the accounting what became of every file, and what is doubtful about them."""
    for entry in folder.account:
        accounting.file(entry.name, entry.how, entry.reason, entry.bytes)
        if entry.doubtful:
            accounting.warn(f"{entry.name} is {entry.how}: {entry.reason}.", "file_in_doubt")
    table = accounting.table()
    names = [file.name for file in folder.files]
    for flag, text in contradictions(folder.manifests, folder.logs, table, names):
        accounting.warn(text, flag)
    found = {row["type"] for row in table}
    for kind, without in _NEEDED.items():
        if kind not in found and not allow_missing:
            accounting.warn(f"The export contains no {kind}: {without}.")
    reports = sum(row["lines_in"] for row in table if row["type"] == ERROR_REPORT)
    if reports:
        text = f"{reports} error reports (OperationOutcome): the server may have left something out."
        accounting.warn(text, "error_report")


_NEEDED = {
    "Encounter": "there are no hospital stays, which most tasks are about",
    "Condition": "there are no diagnoses, so that tasks about diagnoses have no positives",
}


def _reporter(
    files: list[InputFile], earlier_passes: int, progress: Progress | None
) -> Callable[[InputFile, int], None]:
    total = sum(file.size for file in files)
    before = [sum(f.size for f in files[:i]) + earlier_passes * total for i in range(len(files))]

    def report(file: InputFile, done: int) -> None:
        if progress:
            progress(before[file.number] + done, max(2, earlier_passes + 1) * total)

    return report
