"""What predictions rest on: how much of the records the model knows, and how much of a history it sees."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from chartscan.artifact import Artifact, EnsembleArtifact, SequenceArtifact, SeriesArtifact
from chartscan.inputs.batches import cut_histories, samples_of
from chartscan.inputs.tokens import Coverage, named
from chartscan.notes import Note
from chartscan.prediction.reading import Records


@dataclass(frozen=True)
class Findings:
    """Facts of the subjects asked about, for the metadata of predictions."""

    coverage: dict[str, dict[str, Coverage]] = field(default_factory=dict)  # what is read -> code system
    notes: list[Note] = field(default_factory=list)


def findings(artifact: Artifact, records: Records, labels: Mapping[str, pa.Table]) -> Findings:
    """Coverage by code system of the records read, and notes on unknown codes and cut histories.

    Of several vocabularies (members of an ensemble) the one that knows least is shown.
    """
    read = {
        "events": [(tokens.coverage, tokens.warning) for tokens in records.tokens.values()],
        "measurements": [(stays.coverage, stays.warning) for stays in records.stays.values()],
    }
    worst = {what: max(parts, key=lambda part: _unknown(part[0])) for what, parts in read.items() if parts}
    notes = [Note("unknown_codes", warning) for _, warning in worst.values() if warning]
    for task, table in labels.items():
        cut = max(_cut(artifact, records, task, table), default=0)
        if cut:
            notes.append(cut_note(task, cut, table.num_rows))
    return Findings({what: named(found) for what, (found, _) in worst.items()}, notes)


def cut_note(task: str, cut: int, asked: int, whose: str = "histories") -> Note:
    """What to say where `cut` of the `asked` histories are longer than the model's context."""
    text = (
        f"{cut:,} of {asked:,} {whose} ({cut / asked:.1%}) are longer than what the model sees at once. "
        "Their oldest events are left out."
    )
    return Note("cut_histories", text, task, warning=2 * cut > asked)


def _unknown(found: Mapping[str, Coverage]) -> float:
    """The share of unknown events over all code systems."""
    return sum(c.unknown for c in found.values()) / max(sum(c.events for c in found.values()), 1)


def _cut(artifact: Artifact, records: Records, task: str, table: pa.Table) -> Iterator[int]:
    """How many histories of one task each network that answers it sees in part only."""
    if isinstance(artifact, EnsembleArtifact):
        for place, member in enumerate(artifact.members):
            if artifact.weights[task][place]:
                yield from _cut(member, records, task, table)
    elif isinstance(artifact, SequenceArtifact):
        store = records.tokens_of(artifact.vocabulary, artifact.bins).store
        samples = samples_of({task: table}, [task])
        yield int(np.sum(cut_histories(store, samples, artifact.vocabulary)))
    elif isinstance(artifact, SeriesArtifact):
        cut = records.stays_of(artifact.variables).store.cut(artifact.model.INPUT)  # type: ignore[arg-type]
        yield int(np.sum(cut[records.questions.rows[task]]))
