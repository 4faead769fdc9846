"""The prediction times that labels ask about."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Questions:
    """The distinct n pairs of subject and prediction time of some labels, sorted."""

    table: pa.Table  # subject_id, prediction_time

    @classmethod
    def of(cls, labels: Mapping[str, pa.Table]) -> "Questions":
        """Those of LABELS by task."""
        distinct = np.unique(np.concatenate([_keys(table) for table in labels.values()]), axis=0)
        times = pa.array(distinct[:, 1]).cast(pa.timestamp("us"))
        return cls(pa.table({"subject_id": distinct[:, 0], "prediction_time": times}))

    @property
    def subject_ids(self) -> np.ndarray:
        """Subjects asked about, ascending."""
        return np.unique(self.table["subject_id"].to_numpy())

    def places(self, labels: pa.Table) -> np.ndarray:
        """The index of each label's question (labels,); every label must be one of the questions."""
        keys, wanted = _pairs(_keys(self.table)), _pairs(_keys(labels))
        order = np.argsort(keys, kind="stable")
        return order[np.searchsorted(keys, wanted, sorter=order)]


def _keys(labels: pa.Table) -> np.ndarray:
    """Subject and prediction time in microseconds (n, 2)."""
    times = labels["prediction_time"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    return np.stack([labels["subject_id"].to_numpy(), times], axis=1)


def _pairs(keys: np.ndarray) -> np.ndarray:
    """Keys (n, 2) as n values that compare by subject, then by time."""
    return np.ascontiguousarray(keys).view([("subject", np.int64), ("time", np.int64)]).ravel()
