"""Lines whose id came more than once, read again as versions of a resource.

The second pass keeps next to nothing of a line, since hardly any id comes twice. The lines concerned are
mapped once more, in a context of their own, so that nothing is counted twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from chartscan.errors import DataError
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.decode import FAILURES, LineDecoder
from chartscan.sources.fhir.events import EventBuffer
from chartscan.sources.fhir.index import NOWHERE, Index, Judge, place_of
from chartscan.sources.fhir.lines import Block, InputFile
from chartscan.sources.fhir.mappers import map_resource
from chartscan.sources.fhir.outcomes import Filtered, Quarantined
from chartscan.sources.fhir.traces import leave_doubt
from chartscan.sources.fhir.versions import Verdict, Versions
from chartscan.sources.fhir.wrapped import Records

_LINES_AT_ONCE = 100_000


def verdict_on(
    repeated: Mapping[int, np.ndarray],
    files: Sequence[InputFile],
    records: Records,
    config: Config,
    index: Index,
    folder: Path,
    report: Callable[[InputFile, int], None],
) -> Verdict:
    """Return which lines in `repeated` to accept, by file; `folder` is for overflow."""
    versions = Versions(folder)
    events = EventBuffer(versions.flush, config.batch_rows)
    context = Context(config, index, CodeBook(config), events)
    decoder = LineDecoder(config.line_limit_mb << 20, config.nesting_limit)
    for file, block, lines in _blocks(repeated, files, records, report):
        for place, resource in _resources(file, block, lines, decoder):
            left_out = _map(file, decoder.kind, resource, place, context)
            versions.note(decoder.kind, resource, place, left_out)
        versions.gather()
        events.flush_if_full()
        if versions.waiting > _LINES_AT_ONCE:  # lines that gave no event
            events.flush()
            versions.flush()
    events.flush()
    return versions.verdict(index.deletions)


def leave_doubts(
    undecided: Mapping[int, np.ndarray],
    files: Sequence[InputFile],
    records: Records,
    config: Config,
    judge: Judge,
    context: Context,
) -> None:
    """Add a doubtful diagnosis for each Condition in the lines `undecided`.

    Labels may not depend on which of them is valid.
    """
    decoder = LineDecoder(config.line_limit_mb << 20, config.nesting_limit)
    for file, block, lines in _blocks(undecided, files, records, lambda file, done: None):
        for _, resource in _resources(file, block, lines, decoder):
            with suppress(Filtered):
                judge(decoder.kind, resource)
                context.events.place = NOWHERE
                leave_doubt(resource, context)
        context.events.flush_if_full()


def _blocks(
    wanted: Mapping[int, np.ndarray],
    files: Sequence[InputFile],
    records: Records,
    report: Callable[[InputFile, int], None],
) -> Iterator[tuple[InputFile, Block, list[int]]]:
    """The blocks that hold lines numbered in `wanted`, by file, and those lines."""
    for file in files:
        lines = wanted.get(file.number)
        if lines is None:
            continue
        for block in records.blocks(file):
            begin, end = np.searchsorted(lines, [block.line, block.line + len(block.ends)])
            if end > begin:
                yield file, block, lines[begin:end].tolist()
            report(file, block.done)


def _resources(
    file: InputFile, block: Block, lines: list[int], decoder: LineDecoder
) -> Iterator[tuple[int, Any]]:
    """The place and the resource of each line of a block, which was accepted before."""
    assert block.data is not None  # of a line too long to keep nothing was accepted
    decoder.begin(block.data, block.ends, block.line)
    for line in lines:
        at = line - block.line
        begin = block.ends[at - 1] + 1 if at else 0
        try:
            resource = decoder.decode(memoryview(block.data)[begin : block.ends[at]])
        except (Filtered, Quarantined, *FAILURES) as err:
            raise _changed(file) from err
        yield place_of(file, line), resource


def _map(file: InputFile, kind: str, resource: Any, place: int, context: Context) -> bool:
    """Give the events of a resource to the context; whether it is left out on purpose instead."""
    events = context.events
    rows, events.place = len(events.rows), place
    try:
        map_resource(kind, resource, context)
    except Filtered:
        events.drop_after(rows)
        return True
    except (Quarantined, *FAILURES) as err:
        raise _changed(file) from err
    return False


def _changed(file: InputFile) -> DataError:
    return DataError(f"{file.name} was changed while it was read. Start again.")
