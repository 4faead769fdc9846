"""PhysioNet/CinC Challenge 2012 (the first 48 hours of ICU stays, in sets of text files) -> EVENTS.

Every record is one stay of one subject. Its measurements are placed on a clock that starts at admission;
of how it ended only in-hospital death is read, from the Outcomes files, and placed out of any prediction's
sight. Sorting, shards and the random splits are the store's.
"""

from collections.abc import Callable
from pathlib import Path

from chartscan.errors import DataError
from chartscan.sources.physionet2012.config import Config
from chartscan.sources.physionet2012.members import OTHER, OUTCOMES, Member, input_files, members
from chartscan.sources.physionet2012.outcomes import OutcomeBook
from chartscan.sources.physionet2012.reader import Reader
from chartscan.sources.physionet2012.splits import parsed_splits, split_table
from chartscan.store.config import DaysAfterLastEvent
from chartscan.store.writer import DatasetWriter

Progress = Callable[[int, int | None], None]

__all__ = ["Config", "read"]


def read(
    path: Path,
    writer: DatasetWriter,
    config: Config | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the events of a folder of sets (folders, tar or zip archives of `<RecordID>.txt`) into `writer`.

    Lines that cannot be used go to the writer's quarantine. `progress(bytes_done, bytes_total)` counts bytes
    on disk. DataError for a folder without records, a damaged archive, or a record given twice; ConfigError
    where `config.splits` does not give every set its splits.
    """
    config, path = config or Config(), Path(path).resolve()
    files = input_files(path)
    total = sum(file.size for file in files)
    reader, outcomes = Reader(config, writer), OutcomeBook(writer)
    for member in members(files, path, config):
        _read_member(member, reader, outcomes, writer)
        if progress:
            progress(member.done, total)
    reader.finish()
    if not reader.records:
        raise DataError(
            f"{path} holds no usable record of the challenge. Expected files <RecordID>.txt that begin with "
            "'Time,Parameter,Value', in folders or archives."
        )
    reader.write_outcomes(outcomes.settle(reader.records))
    # The challenge has stays of at least 48 hours only, also where the last value is earlier.
    writer.set_follow_up(DaysAfterLastEvent(2))
    if config.splits is not None:
        shares = parsed_splits(config.splits)
        writer.splits(split_table(shares, reader.subjects_by_set(), writer.config.seed))
    if progress:
        progress(total, total)


def _read_member(member: Member, reader: Reader, outcomes: OutcomeBook, writer: DatasetWriter) -> None:
    if member.kind == OUTCOMES:
        outcomes.add(member)
    elif member.kind == OTHER:
        writer.accounting.flagged("other_text_file")
    else:
        reader.add(member)
