"""The ceiling on simulated data: predictions with the true risks."""

from collections.abc import Collection, Iterable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from chartscan.errors import DataError
from chartscan.evaluation import PredictionSet
from chartscan.evaluation.predictions import TRUE_RISK
from chartscan.notes import Note
from chartscan.schema import PREDICTIONS, check
from chartscan.simulator import TRUTH
from chartscan.site_key import OPEN, check_key, open_ids
from chartscan.store.dataset import Dataset
from chartscan.store.subjects import subject_id_of

FOLDER, FILE = "truth", "risk.parquet"
KEYS = ["subject_id", "prediction_time"]


def ceilings(truth: Path, dataset: Dataset, labels: dict[str, pa.Table]) -> dict[str, PredictionSet]:
    """True risk of every labelled prediction, by task, of the tasks that the truth knows.

    A task that the simulator does not know has no ceiling. DataError where the truth knows a task and lacks
    one of its predictions. `truth` is the simulator's side file, its folder, or the export that holds it; its
    patients are found by the site key that the dataset was made with: ConfigError where another is at hand.
    """
    risks = pl.DataFrame(_read(truth_file(truth)))
    risks = risks.join(_subjects(dataset, risks["patient_id"].unique()), on="patient_id")
    by_task = {task: risks.filter(pl.col("task") == task) for task in labels}
    return {
        task: _ceiling(task, by_task[task], table) for task, table in labels.items() if len(by_task[task])
    }


def no_ceiling_notes(tasks: Iterable[str], ceilings: Collection[str]) -> list[Note]:
    """Return a note for each task without true risks where other tasks have them."""
    text = "The true risks of this task are not known, so it has no ceiling."
    return [Note("no_ceiling", text, task, warning=False) for task in tasks if task not in ceilings]


def _subjects(dataset: Dataset, patients: pl.Series) -> pl.DataFrame:
    """Subject ids of the `patients`, computed as the dataset's were."""
    made_with = dataset.manifest.get("site_key", OPEN)
    source = dataset.manifest["settings"].get("namespace", dataset.manifest["source"])
    with open_ids() if made_with == OPEN else nullcontext():
        check_key(made_with, dataset.path)
        ids = [subject_id_of(source, patient) for patient in patients]
    return pl.DataFrame({"patient_id": patients, "subject_id": ids})


def truth_file(truth: Path) -> Path:
    """The file of true risks that `truth` is or holds; DataError where there is none."""
    for path in (truth, truth / FILE, truth / FOLDER / FILE):
        if path.is_file():
            return path
    raise DataError(
        f"{truth}: no true risks. The simulator writes them to EXPORT/{FOLDER}/{FILE}; "
        "name EXPORT or that file."
    )


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as err:
        raise DataError(
            f"{path}: expected the simulator's {FILE}, and could not read it as parquet."
        ) from err
    if set(table.column_names) != set(TRUTH.names):
        raise DataError(
            f"{path}: not true risks. Expected the columns {', '.join(TRUTH.names)} of the simulator's "
            f"{FILE}, found {', '.join(table.column_names)}."
        )
    return check(table, TRUTH, str(path))


def _ceiling(task: str, risks: pl.DataFrame, labels: pa.Table) -> PredictionSet:
    asked = pl.DataFrame(labels)
    if risks.select(KEYS).is_duplicated().any():
        raise DataError(f"{task}: the truth gives two risks for one prediction. Simulate the export again.")
    found = asked.join(risks.select(*KEYS, "true_risk"), on=KEYS, how="left", maintain_order="left")
    missing = found["true_risk"].null_count()
    if missing:
        raise DataError(
            f"{task}: the truth lacks {missing} of {len(found)} predictions. Is it of this export?"
        )
    risk = found["true_risk"].to_numpy()
    table = labels.append_column("predicted_boolean_value", pa.nulls(len(found), pa.bool_()))
    table = table.append_column("predicted_boolean_probability", pa.array(risk.astype(np.float32)))
    return PredictionSet(task=task, model=TRUE_RISK, table=check(table, PREDICTIONS, task))
