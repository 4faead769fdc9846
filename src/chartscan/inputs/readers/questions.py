"""The prediction times of labels, and the protocol of their batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from chartscan.inputs.batches import Samples


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


class Asked(Protocol):
    """S samples as batches of a network: training data, and one pass in order.

    A network's answers to a pass make an array of `shape`; `of_samples` finds those of the samples in it.
    """

    @property
    def samples(self) -> Samples: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def n_batches(self, epoch: int) -> int: ...

    def batch(self, epoch: int, index: int) -> Any: ...

    @property
    def passes(self) -> Sequence[np.ndarray]:
        """The batches of a pass, as the rows of each."""
        ...

    def in_order(self) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield places in the array of answers and a batch; shortest rows first."""
        ...

    def of_samples(self, answers: np.ndarray) -> np.ndarray:
        """The answers to the samples (S,)."""
        ...


def _keys(labels: pa.Table) -> np.ndarray:
    """Subject and prediction time in microseconds (n, 2)."""
    times = labels["prediction_time"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    return np.stack([labels["subject_id"].to_numpy(), times], axis=1)


def _pairs(keys: np.ndarray) -> np.ndarray:
    """Keys (n, 2) as n values that compare by subject, then by time."""
    return np.ascontiguousarray(keys).view([("subject", np.int64), ("time", np.int64)]).ravel()
