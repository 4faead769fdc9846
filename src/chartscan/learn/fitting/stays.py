"""The stays that labels ask about, as time series: what networks and summaries of them start from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.inputs.hourly import SeriesConfig, Stay, Variables, stays
from chartscan.inputs.tokens import Coverage, unknown_share
from chartscan.learn.fitting.calibration import limited
from chartscan.prediction import series_coverage
from chartscan.prediction.tokens import summed
from chartscan.runs.job import Job
from chartscan.schema import TRAIN

ASKED = ["subject_id", "prediction_time"]


@dataclass(frozen=True)
class Questions:
    """The distinct predictions asked for in a split, over all tasks, and what is known of their answers."""

    rows: pa.Table  # subject_id, prediction_time; sorted
    answers: np.ndarray  # (n, T) float32, 0 or 1; NaN where not known, or not to be used

    @property
    def answered(self) -> np.ndarray:
        """Indices of the rows with any answer."""
        return np.flatnonzero(~np.isnan(self.answers).all(axis=1))


def questions_of(job: Job, split: str, limit: int | None, seed: int) -> Questions:
    """Every prediction that a split's labels ask for; of a task's answers at most `limit` (see `limited`).

    DataError where there is no answer at all.
    """
    tables = {task: job.labels_of(task, split) for task in job.tasks}
    asked = pl.concat([pl.DataFrame(table.select(ASKED)) for table in tables.values()])
    rows = asked.unique().sort(ASKED)
    answers = [_answers(rows, limited(table, t, split, limit, seed)) for t, table in tables.items()]
    found = Questions(rows.to_arrow(), np.stack(answers, axis=1))
    if not len(found.answered):
        raise DataError(f"No labels for subjects of the {split} split. Label the dataset that is trained on.")
    return found


def _answers(rows: pl.DataFrame, labels: pa.Table) -> np.ndarray:
    """Answers (n,) of one task to `rows`, NaN where there is none."""
    known = pl.DataFrame(labels.select([*ASKED, "boolean_value"]))
    joined = rows.join(known, on=ASKED, how="left", maintain_order="left")
    return joined["boolean_value"].cast(pl.Float32).to_numpy().astype(np.float32)


def fit_variables(job: Job, config: SeriesConfig) -> Variables:
    """Names, scales and statics of the train subjects' series.

    What a killed run has fitted is read again by `--resume`.
    """
    file = job.work / "variables.json"
    if job.resume and file.exists():
        return Variables.load(file)
    with job.watcher.progress("Variables", "passes") as progress:
        variables = Variables.fit(job.tables(TRAIN), config)
        progress(1, 1)
    job.work.mkdir(parents=True, exist_ok=True)
    variables.save(file)
    return variables


def stays_of(job: Job, split: str, variables: Variables, questions: Questions) -> list[Stay]:
    """The stay of each row of the questions; notes a split of which more than 5 % is unknown."""
    counted: list[dict[str, Coverage]] = []
    with job.watcher.progress(f"Stays of {split}", "shards") as progress:
        tables = _watched(job.tables(split), len(job.dataset.shards()), progress)
        found = stays(_counted(tables, variables, counted), variables, questions.rows)
    if warning := unknown_share(summed(counted), f"measurements of {split}", "among the model's variables"):
        job.notes.add("unknown_codes", warning)
    return found


def _counted(
    tables: Iterable[pa.Table], variables: Variables, counted: list[dict[str, Coverage]]
) -> Iterator[pa.Table]:
    """The tables, with the coverage of each added to `counted`."""
    for table in tables:
        counted.append(series_coverage(table, variables))
        yield table


def _watched(tables: Iterable[pa.Table], total: int, progress: Any) -> Iterator[pa.Table]:
    for number, table in enumerate(tables):
        yield table
        progress(number + 1, total)
