"""PhysioNet/CinC Challenge 2012, the first 48 hours of ICU stays -> EVENTS.

The stays come as text files in sets. Every record is one stay of one subject. Its measurements are placed on
a clock that starts at admission; of how it ended only in-hospital death is read, from the Outcomes files, and
placed out of any prediction's sight. Sorting, shards and the random splits are the store's.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from chartscan.errors import DataError
from chartscan.sources.physionet2012.folder import (
    ARCHIVE,
    EMPTY,
    READ,
    SET_ASIDE,
    Entry,
    check_unchanged,
    survey,
)
from chartscan.sources.physionet2012.members import OTHER, OUTCOMES, Member, members
from chartscan.sources.physionet2012.outcomes import DEATH, OutcomeBook, columns_of
from chartscan.sources.physionet2012.parameters import RECORD_ID, Config
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
    """Write the events of a folder of sets into `writer`.

    A set is a folder, tar or zip archive of `<RecordID>.txt`. Lines that cannot be used go to the writer's
    quarantine. `progress(bytes_done, bytes_total)` counts bytes on disk. DataError for a folder without
    records, a damaged archive, or a record given twice; ConfigError where `config.splits` does not give every
    set its splits.
    """
    config, path = config or Config(), Path(path).resolve()
    files, account = survey(path)
    total = sum(file.size for file in files)
    reader, outcomes = Reader(config, writer), OutcomeBook(writer)
    loose: Counter[str] = Counter()  # bytes of record files, by folder
    packed = {file.name for file in files if file.form == ARCHIVE}
    account += [Entry(file.name, READ, "", file.size) for file in files if file.form == ARCHIVE]
    for member in members(files, path, config, account):
        _read_member(member, reader, outcomes, writer)
        if member.kind == OTHER:
            account.append(_set_aside(member))
        elif member.kind == OUTCOMES:
            account.append(Entry(member.name, READ, "", len(member.data)))
        elif member.source not in packed:
            loose[member.source] += len(member.data)
        if progress:
            progress(member.done, total)
    check_unchanged(files)
    account += [Entry(f"{folder}/ (records)", READ, "", size) for folder, size in loose.items()]
    _account(account, writer)
    reader.finish()
    if not reader.records:
        raise DataError(
            f"{path} contains no usable record of the challenge. Expected files <RecordID>.txt that begin "
            "with 'Time,Parameter,Value', in folders or archives."
        )
    reader.write_outcomes(outcomes.settle(reader.records))
    # The challenge has stays of at least 48 hours only, also where the last value is earlier.
    writer.set_follow_up(DaysAfterLastEvent(2))
    if config.splits is not None:
        shares = parsed_splits(config.splits)
        writer.splits(split_table(shares, reader.subjects_by_set(), writer.config.seed))
    if progress:
        progress(total, total)


def _set_aside(member: Member) -> Entry:
    """The account of a text that is neither a record nor outcomes by its name."""
    columns = columns_of(member.data.partition(b"\n")[0])
    if RECORD_ID in columns and DEATH in columns:
        reason = "outcomes of which set? Name it Outcomes-<set>.txt"
        return Entry(member.name, SET_ASIDE, reason, len(member.data), doubtful=True)
    return Entry(member.name, SET_ASIDE, "no record" if member.data else EMPTY, len(member.data))


def _account(account: list[Entry], writer: DatasetWriter) -> None:
    """Put into the accounting what became of every file, and what is doubtful about them."""
    for entry in sorted(account):
        writer.accounting.file(entry.name, entry.how, entry.reason, entry.bytes)
        if entry.doubtful:
            writer.accounting.warn(f"{entry.name} is {entry.how}: {entry.reason}.", "file_in_doubt")


def _read_member(member: Member, reader: Reader, outcomes: OutcomeBook, writer: DatasetWriter) -> None:
    if member.packed:
        writer.accounting.normalised("gzip_text")
    if member.kind == OUTCOMES:
        outcomes.add(member)
    elif member.kind == OTHER:
        writer.accounting.flagged("other_text_file")
    else:
        reader.add(member)
