"""Trains tabular models (boosted trees, logistic regression) on a reader's matrix."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec
import numpy as np

from chartscan import artifact
from chartscan.artifact import Artifact, TabularModels, logit
from chartscan.errors import DataError, check_settings
from chartscan.find import find, name_of
from chartscan.inputs.readers import ReaderConfig
from chartscan.learn.calibration import enough, fit_calibration, scores
from chartscan.learn.reading import Readings, fit_reader
from chartscan.runs.job import Job
from chartscan.runs.record import run_record
from chartscan.runs.seen import seen_record
from chartscan.runs.work import finished
from chartscan.schema import TRAIN, TUNING
from chartscan.tabular import xgboost

LabelledRows = tuple[Any, np.ndarray]  # a matrix (n, columns), sparse or not, and answers (n,) bool

# Small, slow trees on few columns each: hundreds of correlated columns, few positives. Their number comes
# from cross-validation among the train and tuning stays of PhysioNet 2012 (log/): to stop on 800 stays is
# noisier.
SUMMARY_TREES = xgboost.Config(
    learning_rate=0.02,
    max_leaves=8,
    max_depth=0,
    min_child_weight=4.0,
    subsample=0.7,
    column_sample=0.15,
    l2=10.0,
    max_bins=128,
    trees=680,
    patience=None,
)


class TabularRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of tabular models; `model` is the Config of a file in tabular/."""

    untracked: ClassVar[str | None] = "it is not trained in steps"  # why --track has nothing to follow
    model: msgspec.Struct
    reader: ReaderConfig
    label_limit: int | None = None  # train labels of a task (and a quarter as many of tuning); None: all
    seed: int = 0

    def __post_init__(self) -> None:
        few = self.label_limit is not None and self.label_limit < 1
        check_settings({"seed": self.seed >= 0, "label_limit": not few})

    @property
    def name(self) -> str:
        """The file in tabular/ that the settings belong to."""
        return name_of("tabular", self.model)

    def train(self, job: Job) -> Path:
        """Trains one model a task, stopped and calibrated on tuning subjects; gives the artifact's folder."""
        read = Readings(job, fit_reader(job, self.reader), self.label_limit, self.seed)
        labels = {split: read.labels(split, needed=False) for split in (TRAIN, TUNING)}

        def rows_of(task: str, split: str) -> LabelledRows:
            table = labels[split][task]
            answers = table["boolean_value"].to_numpy(zero_copy_only=False)
            return read.records[split].matrix(table), answers

        fitted = fit_tasks(self, job, rows_of)
        run = run_record(job, self) | {
            "seen": seen_record(job),
            "tuning": fitted.tuning,
            "coverage": read.coverage(),
        }
        models = TabularModels(self.name, fitted.models)
        found = Artifact(read.reader, models, tuple(fitted.models), fitted.calibration, run)
        artifact.save(job.out, found)
        finished(job)
        return job.out


class ModelSettings(Protocol):
    """As much of a recipe as decides what its tabular models are, given their rows."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> msgspec.Struct: ...

    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Fitted:
    """What became of each task."""

    models: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, artifact.Calibration] = field(default_factory=dict)
    tuning: dict[str, dict[str, float]] = field(default_factory=dict)  # scores


def fit_tasks(recipe: ModelSettings, job: Job, rows_of: Callable[[str, str], LabelledRows]) -> Fitted:
    """A model and its calibration for each task; `rows_of(task, split)` gives the rows.

    A task whose train labels are of one class is left out; DataError where that is every task.
    """
    found = Fitted()
    with job.watcher.progress(f"Training {recipe.name}", "tasks") as progress:
        for number, task in enumerate(job.tasks):
            train, (matrix, y) = rows_of(task, TRAIN), rows_of(task, TUNING)
            if len(np.unique(train[1])) < 2:
                job.notes.add("left_out", "The train labels are all of one class. Not learned.", task)
                continue
            found.models[task] = _fitted(recipe, train, (matrix, y), job.threads)
            log_odds = logit(found.models[task].predict_proba(matrix))
            found.calibration.update(fit_calibration([task], np.zeros(len(y), int), y, log_odds, job.notes))
            found.tuning[task] = scores(y, log_odds)
            progress(number + 1, len(job.tasks))
    if not found.models:
        raise DataError("No task has train labels of both classes. Label more subjects.")
    return found


def _fitted(recipe: ModelSettings, train: LabelledRows, tuning: LabelledRows, threads: int) -> Any:
    chosen_by = tuning if enough(tuning[1]) else None
    module = find("tabular", recipe.name)
    return module.fit(*train, tuning=chosen_by, config=recipe.model, seed=recipe.seed, threads=threads)
