"""The ceiling on simulated data: true risks as predictions of a model that knows the simulator."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.evaluation import PredictionSet
from chartscan.evaluation.predictions import TRUE_RISK
from chartscan.schema import PREDICTIONS, check
from chartscan.store.dataset import Dataset

FILE = "risk.parquet"


def ceilings(truth: Path, dataset: Dataset, labels: dict[str, pa.Table]) -> dict[str, PredictionSet]:
    """True risk of every labelled prediction, by task; DataError where the truth lacks one.

    `truth` is the simulator's side file (or its folder); its patients are found through the dataset's
    subject map.
    """
    path = truth / FILE if truth.is_dir() else truth
    if not path.exists():
        raise DataError(f"{path}: no such file. The simulator writes it to EXPORT/truth/{FILE}.")
    subjects = pl.DataFrame(dataset.subject_map())
    risks = pl.read_parquet(path).join(subjects, on="patient_id")
    return {
        task: _ceiling(task, risks.filter(pl.col("task") == task), table) for task, table in labels.items()
    }


def _ceiling(task: str, risks: pl.DataFrame, labels: pa.Table) -> PredictionSet:
    asked = pl.DataFrame(labels)
    keys = ["subject_id", "prediction_time"]
    found = asked.join(risks.select(*keys, "true_risk"), on=keys, how="left", maintain_order="left")
    missing = found["true_risk"].null_count()
    if missing:
        raise DataError(
            f"{task}: the truth lacks {missing} of {len(found)} predictions. Is it of this export?"
        )
    risk = found["true_risk"].to_numpy()
    table = labels.append_column("predicted_boolean_value", pa.nulls(len(found), pa.bool_()))
    table = table.append_column("predicted_boolean_probability", pa.array(risk.astype(np.float32)))
    return PredictionSet(task=task, model=TRUE_RISK, table=check(table, PREDICTIONS, task))
