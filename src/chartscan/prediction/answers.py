"""From log odds to PREDICTIONS: which family answers how, calibration, and decisions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from chartscan.artifact import (
    Artifact,
    Calibration,
    EnsembleArtifact,
    SequenceArtifact,
    SeriesArtifact,
    SummaryArtifact,
)
from chartscan.errors import ConfigError, DataError
from chartscan.prediction.findings import Findings, findings
from chartscan.prediction.reading import Records, Tables, read_records
from chartscan.prediction.sequence import sequence_log_odds
from chartscan.prediction.series import series_log_odds
from chartscan.prediction.summary import summary_log_odds
from chartscan.prediction.tabular import tabular_log_odds
from chartscan.schema import PREDICTIONS, check

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Answered:
    """PREDICTIONS by task, and what was found of the records that they rest on."""

    predictions: dict[str, pa.Table]
    findings: Findings


def answer(
    artifact: Artifact,
    tables: Tables,
    labels: Mapping[str, pa.Table],
    progress: Progress | None = None,
) -> Answered:
    """PREDICTIONS and findings by task, rows as in `labels`. Raises as `predict`."""
    records = _records(artifact, tables, labels)
    if records is None:
        found = {task: np.zeros(0) for task in labels}
    else:
        found = _finite(_log_odds(artifact, records, labels, progress or _silent))
    answers = {t: predictions(labels[t], found[t], artifact.calibration.get(t)) for t in labels}
    return Answered(answers, findings(artifact, records, labels) if records else Findings())


def predict(
    artifact: Artifact,
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
    artifact: Artifact,
    tables: Tables,
    labels: Mapping[str, pa.Table],
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Raw log odds (n,) float64 by task, before any calibration, rows as in `labels`. Raises as `predict`."""
    records = _records(artifact, tables, labels)
    if records is None:
        return {task: np.zeros(0) for task in labels}
    return _finite(_log_odds(artifact, records, labels, progress or _silent))


def _records(artifact: Artifact, tables: Tables, labels: Mapping[str, pa.Table]) -> Records | None:
    """The records behind `labels`; None where nothing is asked."""
    strangers = sorted(set(labels) - set(artifact.tasks))
    if strangers:
        known = ", ".join(artifact.tasks)
        raise ConfigError(f"This model has not learned {', '.join(strangers)}. It knows: {known}.")
    if not any(table.num_rows for table in labels.values()):
        return None
    return read_records(artifact, tables, labels)


def _finite(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The answers; DataError where one is no number, as weights that were tampered with give."""
    broken = sum(np.count_nonzero(~np.isfinite(values)) for values in found.values())
    if broken:
        raise DataError(
            f"The model answers {broken:,} questions with a number that is not finite: its weights are "
            "unusable. Train it again, or restore it from a copy."
        )
    return found


def predictions(labels: pa.Table, log_odds: np.ndarray, calibration: Calibration | None) -> pa.Table:
    """PREDICTIONS: calibrated probabilities, and decisions by the threshold chosen on tuning rows."""
    calibration = calibration or Calibration()
    probability = calibration.probability(log_odds)
    table = labels.append_column("predicted_boolean_value", pa.array(probability >= calibration.threshold))
    column = pa.array(probability.astype(np.float32))
    return check(table.append_column("predicted_boolean_probability", column), PREDICTIONS, "predictions")


def _log_odds(
    artifact: Artifact, records: Records, labels: Mapping[str, pa.Table], progress: Progress
) -> dict[str, np.ndarray]:
    if isinstance(artifact, EnsembleArtifact):
        return _ensemble_log_odds(artifact, records, labels, progress)
    if isinstance(artifact, SequenceArtifact):
        return sequence_log_odds(artifact, records, labels, progress)
    if isinstance(artifact, SeriesArtifact):
        return series_log_odds(artifact, records, labels, progress)
    if isinstance(artifact, SummaryArtifact):
        return summary_log_odds(artifact, records, labels, progress)
    return tabular_log_odds(artifact, records, labels, progress)


def _ensemble_log_odds(
    artifact: EnsembleArtifact, records: Records, labels: Mapping[str, pa.Table], progress: Progress
) -> dict[str, np.ndarray]:
    """The members' raw log odds, blended; each is asked where it counts."""
    members = {t: np.zeros((table.num_rows, len(artifact.members))) for t, table in labels.items()}
    shares = _Shares(progress, len(artifact.members))
    for place, member in enumerate(artifact.members):
        asked = {t: table for t, table in labels.items() if artifact.weights[t][place]}
        found = _log_odds(member, records, asked, shares.of_next()) if asked else {}
        for task, answers in found.items():
            members[task][:, place] = answers
    return {t: artifact.blended(t, members[t]) for t in labels}


class _Shares:
    """One progress of several members; those to come are expected to take as long as the ones so far."""

    def __init__(self, progress: Progress, members: int):
        self._progress, self._members = progress, members
        self._begun, self._before, self._now = 0, 0, 0

    def of_next(self) -> Progress:
        """The progress function of the next member."""
        self._begun, self._before = self._begun + 1, self._before + self._now
        self._now = 0
        return self._report

    def _report(self, done: int, total: int | None) -> None:
        self._now = done
        so_far = None if total is None else self._before + total
        expected = None if so_far is None else round(so_far * self._members / self._begun)
        self._progress(self._before + done, expected)


def _silent(done: int, total: int | None) -> None:
    """No progress shown."""
