"""Training a tabular baseline, one model a task, on counts of the very tokens the sequence models see."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec
import numpy as np
from scipy.sparse import csr_matrix

from chartscan import artifact
from chartscan.artifact import TabularArtifact
from chartscan.errors import DataError, check_settings
from chartscan.find import find
from chartscan.inputs.tokens import Encoded, Encoder, SequenceConfig, Vocabulary
from chartscan.learn.fitting.calibration import enough, fit_calibration, limited, scores
from chartscan.learn.fitting.tokens import coverage_table, fit_tokens
from chartscan.prediction import encode, logit, token_features
from chartscan.runs.job import Job
from chartscan.runs.record import run_record
from chartscan.runs.seen import seen_record
from chartscan.runs.work import finished
from chartscan.schema import TRAIN, TUNING
from chartscan.tabular import logistic, xgboost

Tokens = tuple[list[tuple[int, Encoded]], dict[int, np.datetime64]]
LabelledRows = tuple[Any, np.ndarray]  # a matrix (n, columns), sparse or not, and answers (n,) bool


class ModelSettings(Protocol):
    """As much of a recipe as decides what its tabular models are, given their rows."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> msgspec.Struct: ...

    @property
    def seed(self) -> int: ...


class BaselineRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What baselines have in common, whatever they read; `model` is the Config of a file in tabular/."""

    untracked: ClassVar[str | None] = "it is not trained in steps"  # why --track has nothing to follow
    model: xgboost.Config | logistic.Config
    label_limit: int | None = None  # train labels of a task (and a quarter as many of tuning); None: all
    seed: int = 0

    def __post_init__(self) -> None:
        few = self.label_limit is not None and self.label_limit < 1
        check_settings({"seed": self.seed >= 0, "label_limit": not few})

    @property
    def name(self) -> str:
        """The file in tabular/ that the settings belong to."""
        return type(self.model).__module__.rpartition(".")[2]


class TabularRecipe(BaselineRecipe, frozen=True, kw_only=True):
    """Everything that decides what the trained baselines on token counts are."""

    sequence: SequenceConfig = SequenceConfig()

    def train(self, job: Job) -> Path:
        """The whole run; gives the artifact's folder."""
        return train_tabular(self, job)


def train_tabular(recipe: TabularRecipe, job: Job) -> Path:
    """One model a task, stopped by and calibrated on the tuning subjects."""
    vocabulary, bins = fit_tokens(job, recipe.sequence)
    encoder = Encoder(vocabulary, bins)
    known = coverage_table(job, encoder)
    tokens = {s: encode(encoder, job.tables(s)) for s in (TRAIN, TUNING)}

    def rows_of(task: str, split: str) -> LabelledRows:
        return _matrix(job, task, split, recipe, tokens[split], vocabulary)

    fitted = fit_tasks(recipe, job, rows_of)
    run = run_record(job, recipe) | {
        "seen": seen_record(job),
        "tuning": fitted.tuning,
        "coverage": known,
    }
    found = TabularArtifact(recipe.name, fitted.models, vocabulary, bins, fitted.calibration, run)
    artifact.save(job.out, found)
    finished(job)
    return job.out


def _matrix(
    job: Job, task: str, split: str, recipe: TabularRecipe, tokens: Tokens, vocabulary: Vocabulary
) -> tuple[csr_matrix, np.ndarray]:
    """Counts and answers of one task's labels in one split."""
    encoded, births = tokens
    labels = limited(job.labels_of(task, split), task, split, recipe.label_limit, recipe.seed)
    features = token_features(encoded, births, labels, vocabulary)
    return features.matrix, labels["boolean_value"].to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class Fitted:
    """What became of each task."""

    models: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, artifact.Calibration] = field(default_factory=dict)
    tuning: dict[str, dict[str, float]] = field(default_factory=dict)  # scores


def fit_tasks(recipe: ModelSettings, job: Job, rows_of: Callable[[str, str], LabelledRows]) -> Fitted:
    """A model and its calibration for each task, of what `rows_of(task, split)` gives for train and tuning.

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
