"""Training a tabular baseline, one model a task, on counts of the very tokens the sequence models see."""

from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
from scipy.sparse import csr_matrix

from chartscan import artifact
from chartscan.artifact import TabularArtifact
from chartscan.errors import ConfigError, DataError
from chartscan.find import find
from chartscan.predict import encode, logit, token_features
from chartscan.recipes._calibration import fit_calibration
from chartscan.recipes._few import enough, limited
from chartscan.recipes._job import Job, labels_of, split_tables
from chartscan.recipes._run_record import run_record
from chartscan.recipes._seen import seen_record
from chartscan.recipes._tokens import coverage_table, fit_tokens
from chartscan.recipes._work import finished
from chartscan.schema import TRAIN, TUNING
from chartscan.sequences import Encoded, Encoder, SequenceConfig, Vocabulary
from chartscan.tabular import logistic, xgboost

Tokens = tuple[list[tuple[int, Encoded]], dict[int, np.datetime64]]


class TabularRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides what the trained baselines are; `model` is the Config of a file in tabular/."""

    model: xgboost.Config | logistic.Config
    sequence: SequenceConfig = SequenceConfig()
    label_limit: int | None = None  # train labels a task may use; None: all
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0 or (self.label_limit is not None and self.label_limit < 1):
            raise ConfigError("Settings out of range: seed must not be negative, label_limit at least 1.")

    @property
    def name(self) -> str:
        """The file in tabular/ that the settings belong to."""
        return type(self.model).__module__.rpartition(".")[2]

    def train(self, job: Job) -> Path:
        """The whole run; gives the artifact's folder."""
        return train_tabular(self, job)


class XGBoostRecipe(TabularRecipe, frozen=True, kw_only=True):
    """Trees."""

    model: xgboost.Config = xgboost.Config()


class LogisticRecipe(TabularRecipe, frozen=True, kw_only=True):
    """Logistic regression."""

    model: logistic.Config = logistic.Config()


def train_tabular(recipe: TabularRecipe, job: Job) -> Path:
    """One model a task, stopped by and calibrated on the tuning subjects."""
    if job.track:
        raise ConfigError("--track follows the steps of sequence models; this recipe has none.")
    module = find("tabular", recipe.name)
    vocabulary, bins = fit_tokens(job, recipe.sequence)
    encoder = Encoder(vocabulary, bins)
    tokens = {s: encode(encoder, split_tables(job.dataset, s)) for s in (TRAIN, TUNING)}
    models: dict[str, Any] = {}
    calibration: dict[str, artifact.Calibration] = {}
    with job.watcher.progress(f"Training {recipe.name}", "tasks") as progress:
        for number, task in enumerate(job.tasks):
            parts = {split: _matrix(job, task, split, recipe, tokens[split], vocabulary) for split in tokens}
            if len(np.unique(parts[TRAIN][1])) < 2:
                job.watcher.say(f"{task}: the train labels are all of one class; left out")
                continue
            models[task] = _fitted(module, recipe, parts, job.threads)
            matrix, y = parts[TUNING]
            log_odds = logit(models[task].predict_proba(matrix))
            calibration |= fit_calibration([task], np.zeros(len(y), int), y, log_odds)
            progress(number + 1, len(job.tasks))
    if not models:
        raise DataError("No task has train labels of both classes. Label more subjects.")
    run = run_record(job, recipe) | {
        "seen": seen_record(job.dataset),
        "coverage": coverage_table(job.dataset, encoder),
    }
    found = TabularArtifact(recipe.name, models, vocabulary, bins, calibration, run)
    artifact.save(job.out, found)
    finished(job)
    return job.out


def _matrix(
    job: Job, task: str, split: str, recipe: TabularRecipe, tokens: Tokens, vocabulary: Vocabulary
) -> tuple[csr_matrix, np.ndarray]:
    """Counts and answers of one task's labels in one split."""
    encoded, births = tokens
    labels = labels_of(job.dataset, job.labels[task][0], split)
    labels = limited(labels, task, split, recipe.label_limit, recipe.seed)
    features = token_features(encoded, births, labels, vocabulary)
    return features.matrix, labels["boolean_value"].to_numpy(zero_copy_only=False)


def _fitted(module: ModuleType, recipe: TabularRecipe, parts: dict[str, Any], threads: int) -> Any:
    matrix, y = parts[TRAIN]
    tuning = parts[TUNING] if enough(parts[TUNING][1]) else None
    return module.fit(matrix, y, tuning=tuning, config=recipe.model, seed=recipe.seed, threads=threads)
