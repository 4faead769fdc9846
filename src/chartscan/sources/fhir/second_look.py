"""The lines whose id came more than once, read again: which versions of a resource they are.

The second pass keeps next to nothing of a line, since hardly any id comes twice. The lines concerned are
mapped once more, in a context of their own, so that nothing is counted twice.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from chartscan.errors import DataError
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.decode import FAILURES, LineDecoder
from chartscan.sources.fhir.events import EventBuffer
from chartscan.sources.fhir.index import Index, place_of
from chartscan.sources.fhir.lines import Block, InputFile
from chartscan.sources.fhir.mappers import map_resource
from chartscan.sources.fhir.outcomes import Filtered, Quarantined
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
    """What the versions decide about the lines numbered in `repeated`, by file, each accepted or left out on
    purpose by the second pass. `folder` holds what does not fit into memory."""
    versions = Versions(folder)
    events = EventBuffer(versions.flush, config.batch_rows)
    context = Context(config, index, CodeBook(config), events)
    decoder = LineDecoder(config.line_limit_mb << 20, config.nesting_limit)
    for file in files:
        lines = repeated.get(file.number)
        if lines is None:
            continue
        for block in records.blocks(file):
            begin, end = np.searchsorted(lines, [block.line, block.line + len(block.ends)])
            if end > begin:
                _read(file, block, lines[begin:end].tolist(), decoder, context, versions)
                events.flush_if_full()
            if versions.waiting > _LINES_AT_ONCE:  # lines that gave no event
                events.flush()
                versions.flush()
            report(file, block.done)
    events.flush()
    return versions.verdict(index.deletions)


def _read(
    file: InputFile,
    block: Block,
    lines: list[int],
    decoder: LineDecoder,
    context: Context,
    versions: Versions,
) -> None:
    """Note the lines of a block, and give their events to the context."""
    assert block.data is not None  # of a line too long to keep nothing was accepted
    decoder.begin(block.data, block.ends, block.line)
    events = context.events
    for line in lines:
        at = line - block.line
        begin = block.ends[at - 1] + 1 if at else 0
        place, rows, left_out = place_of(file, line), len(events.rows), False
        events.place = place
        try:
            resource = decoder.decode(memoryview(block.data)[begin : block.ends[at]])
            map_resource(decoder.kind, resource, context)
        except Filtered:
            left_out = True
            events.drop_after(rows)
        except (Quarantined, *FAILURES) as err:  # it was accepted before
            raise DataError(f"{file.name} was changed while it was read. Start again.") from err
        versions.note(decoder.kind, resource, place, left_out)
    versions.gather()
