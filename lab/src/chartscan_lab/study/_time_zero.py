"""The same stays at another hour: LABELS whose prediction time is a number of hours after time zero."""

import numpy as np
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.inputs.hourly.variables import admissions, first_events, frame_of
from chartscan.runs.job import of_subjects
from chartscan.schema import LABELS
from chartscan.store.dataset import Dataset

_US_AN_HOUR = 3_600_000_000


def asked_at(labels: pa.Table, zeros: np.ndarray, hours: float) -> pa.Table:
    """`labels` with prediction times `hours` after time zero, `zeros` of `time_zeros`; rows in their order.

    The stays and outcomes are those of `labels`; a stay whose record ends earlier stays too. DataError where
    that hour is after the prediction time of a row: it would see what the task does not allow.
    """
    asked = labels["prediction_time"].cast(pa.int64()).to_numpy()
    moved = zeros + round(hours * _US_AN_HOUR)
    late = int(np.count_nonzero(moved > asked))
    if late:
        raise DataError(
            f"{hours:g} h after time zero lies behind the prediction time of {late} of {len(asked)} labels. "
            "Name fewer hours, or label with later ones."
        )
    times = pa.array(moved, pa.int64()).cast(LABELS.field("prediction_time").type)
    return labels.set_column(1, LABELS.field("prediction_time"), times)


def time_zeros(dataset: Dataset, labels: pa.Table) -> np.ndarray:
    """Microseconds since 1970 of each row's time zero, shape (n,), as series models have it.

    The latest admission at or before the prediction time, else the subject's first timed event. DataError
    where a subject has none.
    """
    begun: dict[int, list[int]] = {}
    first: dict[int, int] = {}
    for path in dataset.shards():
        frame = frame_of(of_subjects(dataset.read_shard(path), labels["subject_id"].to_numpy()))
        for subject, known in admissions(frame).iter_rows():
            begun.setdefault(subject, []).append(known)
        first |= dict(first_events(frame).iter_rows())
    ids = labels["subject_id"].to_pylist()
    missing = sum(subject not in first for subject in ids)
    if missing:
        raise DataError(f"{missing} labels are of subjects without a timed event. Label this dataset again.")
    asked = labels["prediction_time"].cast(pa.int64()).to_pylist()
    rows = zip(ids, asked, strict=True)
    return np.array([_latest(begun.get(s, []), at, first[s]) for s, at in rows], np.int64)


def _latest(admissions: list[int], at: int, first: int) -> int:
    return max((start for start in admissions if start <= at), default=first)
