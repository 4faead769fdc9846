"""FHIR R4 bulk NDJSON -> EVENTS.

Two passes: the first indexes what others refer to (`index`), the second turns every line into events or
counts why not (`reader`). What is not decided here: sorting, shards and duplicates among events, which are
the store's.
"""

from collections.abc import Callable
from pathlib import Path

from chartscan.errors import DataError
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.index import read_index
from chartscan.sources.fhir.lines import InputFile, export_time, input_files
from chartscan.sources.fhir.plausible import micros_of
from chartscan.sources.fhir.reader import Reader
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
    """Write the events of a folder of FHIR NDJSON into `writer`.

    Lines that cannot be used go to the writer's quarantine. `progress(bytes_done, bytes_total)` counts bytes
    on disk, over both passes. DataError when the folder holds nothing usable.
    """
    config, path = config or Config(), Path(path)
    files = input_files(path)
    codes = CodeBook(config)
    exported = export_time(path)
    index = read_index(files, config, codes, _reporter(files, 0, progress), micros_of(exported))
    if not len(index.tables["Patient"]) and not config.allow_missing:
        raise DataError(f"{path} holds no Patient. Add the Patient file, or set allow_missing.")
    reader = Reader(config, index, codes, writer)
    for file in files:
        reader.read(file, _reporter(files, 1, progress))
    reader.finish()
    if (
        exported is not None and not index.register.shifted
    ):  # else the export's time says nothing of its dates
        writer.set_follow_up(ExportTime(exported))


def _reporter(
    files: list[InputFile], earlier_passes: int, progress: Progress | None
) -> Callable[[InputFile, int], None]:
    total = sum(file.size for file in files)
    before = [sum(f.size for f in files[:i]) + earlier_passes * total for i in range(len(files))]

    def report(file: InputFile, done: int) -> None:
        if progress:
            progress(before[file.number] + done, 2 * total)

    return report
