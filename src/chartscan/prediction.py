"""ARTIFACT + EVENTS + LABELS -> PREDICTIONS, for every kind of model and for ensembles.

Each prediction sees what was known at its prediction time, and nothing else. One pass over EVENTS serves all
models; those that read records alike share what was read. Unknown codes and histories that are seen in part
are noted beside the predictions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from chartscan.artifact import AnyArtifact, Calibration
from chartscan.errors import ConfigError, DataError
from chartscan.inputs.readers import Questions, Reader, Records
from chartscan.inputs.tokens import Coverage, check_coverage, named, summed
from chartscan.notes import Note
from chartscan.schema import PREDICTIONS, check

Progress = Callable[[int, int | None], None]
Tables = Callable[[], Iterable[pa.Table]]  # EVENTS of whole subjects, shard by shard


@dataclass(frozen=True)
class Findings:
    """Facts of the subjects asked about, for the metadata of predictions."""

    coverage: dict[str, dict[str, Coverage]] = field(default_factory=dict)  # what is read -> code system
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class Answered:
    """PREDICTIONS by task, and what was found of the records that they rest on."""

    predictions: dict[str, pa.Table]
    findings: Findings


@dataclass(frozen=True)
class _Read:
    """What one reader has read of the subjects asked about."""

    reader: Reader
    records: Records
    coverage: dict[str, Coverage]  # by code system
    warning: str | None  # about unknown codes


def answer(
    artifact: AnyArtifact,
    tables: Tables,
    labels: Mapping[str, pa.Table],
    progress: Progress | None = None,
) -> Answered:
    """PREDICTIONS and findings by task, rows as in `labels`. Raises as `predict`."""
    read = _read(artifact, tables, labels)
    found = _answers(artifact, read, labels, progress)
    answers = {t: predictions(labels[t], found[t], artifact.calibration.get(t)) for t in labels}
    return Answered(answers, _findings(artifact, read, labels))


def predict(
    artifact: AnyArtifact,
    tables: Tables,
    labels: Mapping[str, pa.Table],
    progress: Progress | None = None,
) -> dict[str, pa.Table]:
    """PREDICTIONS by task, rows as in `labels` (LABELS or QUESTIONS by task).

    ConfigError for a task the artifact has not learned; DataError where more than a fifth of the events are
    unknown to its vocabulary or variables, or a labelled subject has no events.
    """
    return answer(artifact, tables, labels, progress).predictions


def log_odds(
    artifact: AnyArtifact,
    tables: Tables,
    labels: Mapping[str, pa.Table],
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Raw log odds (n,) float64 by task, rows as in `labels`. Raises as `predict`."""
    return _answers(artifact, _read(artifact, tables, labels), labels, progress)


def predictions(labels: pa.Table, log_odds: np.ndarray, calibration: Calibration | None) -> pa.Table:
    """PREDICTIONS: calibrated probabilities, and decisions by the threshold chosen on tuning rows."""
    calibration = calibration or Calibration()
    probability = calibration.probability(log_odds)
    table = labels.append_column("predicted_boolean_value", pa.array(probability >= calibration.threshold))
    column = pa.array(probability.astype(np.float32))
    return check(table.append_column("predicted_boolean_probability", column), PREDICTIONS, "predictions")


def cut_note(task: str, cut: int, asked: int, whose: str = "histories") -> Note:
    """A note that `cut` of the `asked` histories are longer than the model's context."""
    text = (
        f"{cut:,} of {asked:,} {whose} ({cut / asked:.1%}) are longer than what the model sees at once. "
        "Their oldest events are left out."
    )
    return Note("cut_histories", text, task, warning=2 * cut > asked)


def _read(artifact: AnyArtifact, tables: Tables, labels: Mapping[str, pa.Table]) -> dict[Any, _Read]:
    """What each reader of the artifact reads, by its key; nothing where nothing is asked.

    DataError where more than a fifth of the events are unknown to a reader, or subjects of time series have
    no events.
    """
    strangers = sorted(set(labels) - set(artifact.tasks))
    if strangers:
        known = ", ".join(artifact.tasks)
        raise ConfigError(f"This model was not trained for {', '.join(strangers)}. It predicts: {known}.")
    if not any(table.num_rows for table in labels.values()):
        return {}
    questions = Questions.of(labels)
    readers: dict[Any, Reader] = {one.reader.key: one.reader for one in artifact.singles()}
    readings = {key: reader.reading(questions) for key, reader in readers.items()}
    counted: dict[Any, list[dict[str, Coverage]]] = {key: [] for key in readers}
    for table in _of_subjects(tables(), questions.subject_ids):
        for key, reader in readers.items():
            counted[key].append(reader.coverage(table))
            readings[key].read(table)
    found = {}
    for key, reader in readers.items():
        coverage = summed(counted[key])
        warning = check_coverage(coverage, f"{reader.NOUN} to predict on", reader.PLACE)
        found[key] = _Read(reader, readings[key].records(), coverage, warning)
    return found


def _of_subjects(tables: Iterable[pa.Table], subject_ids: np.ndarray) -> Iterator[pa.Table]:
    for table in tables:
        found = table.filter(pa.array(np.isin(table["subject_id"].to_numpy(), subject_ids)))
        if found.num_rows:
            yield found


def _answers(
    artifact: AnyArtifact, read: dict[Any, _Read], labels: Mapping[str, pa.Table], progress: Progress | None
) -> dict[str, np.ndarray]:
    """Raw log odds by task; DataError where one is no number, as weights that were tampered with give."""
    if not read:
        return {task: np.zeros(0) for task in labels}
    records = {key: one.records for key, one in read.items()}
    found = artifact.log_odds(records, labels, progress or _silent)
    broken = sum(np.count_nonzero(~np.isfinite(values)) for values in found.values())
    if broken:
        raise DataError(
            f"The model outputs {broken:,} numbers that are not finite: its weights are unusable. Train it "
            "again, or restore it from a copy."
        )
    return found


def _findings(artifact: AnyArtifact, read: dict[Any, _Read], labels: Mapping[str, pa.Table]) -> Findings:
    """Coverage by code system of the records read, and notes on unknown codes and cut histories.

    Of several readers of a kind (members of an ensemble) the one that knows least is shown.
    """
    if not read:
        return Findings()
    worst: dict[str, _Read] = {}
    for one in sorted(read.values(), key=lambda one: _unknown(one.coverage)):
        worst[one.reader.COUNTED] = one
    notes = [Note("unknown_codes", one.warning) for one in worst.values() if one.warning]
    for task, table in labels.items():
        cuts = [one.learned.cut(read[one.reader.key].records, table) or 0 for one in artifact.singles(task)]
        if cut := max(cuts, default=0):
            notes.append(cut_note(task, cut, table.num_rows))
    return Findings({noun: named(one.coverage) for noun, one in worst.items()}, notes)


def _unknown(found: Mapping[str, Coverage]) -> float:
    """The share of unknown events over all code systems."""
    return sum(c.unknown for c in found.values()) / max(sum(c.events for c in found.values()), 1)


def _silent(done: int, total: int | None) -> None:
    """No progress shown."""
