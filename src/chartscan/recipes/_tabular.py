"""Training a tabular baseline, one model a task, on counts of the very tokens the sequence models see."""

from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
from scipy.sparse import csr_matrix

from chartscan import artifact
from chartscan.artifact import TabularArtifact
from chartscan.errors import DataError
from chartscan.find import find
from chartscan.predict import encode, logit, token_features
from chartscan.recipes._calibration import fit_calibration
from chartscan.recipes._few import enough, limited
from chartscan.recipes._job import Job, labels_of, split_tables
from chartscan.recipes._run_record import run_record
from chartscan.recipes._tokens import coverage_table, fit_tokens
from chartscan.recipes._work import finished
from chartscan.schema import TRAIN, TUNING
from chartscan.sequences import Encoded, Encoder, SequenceConfig, Vocabulary

Tokens = tuple[list[tuple[int, Encoded]], dict[int, np.datetime64]]


class TabularRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides what the trained baselines are."""

    name: str  # of the file in tabular/
    sequence: SequenceConfig = SequenceConfig()
    model: dict[str, Any] = {}  # fields of that file's Config; the rest as it has them
    label_limit: int | None = None  # train labels a task may use; None: all
    seed: int = 0

    def train(self, job: Job) -> Path:
        """The whole run; gives the artifact's folder."""
        return train_tabular(self, job)


def train_tabular(recipe: TabularRecipe, job: Job) -> Path:
    """One model a task, stopped by and calibrated on the tuning subjects."""
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
    run = run_record(job, recipe) | {"coverage": coverage_table(job.dataset, encoder)}
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
    config = msgspec.convert(recipe.model, module.Config)
    matrix, y = parts[TRAIN]
    tuning = parts[TUNING] if enough(parts[TUNING][1]) else None
    return module.fit(matrix, y, tuning=tuning, config=config, seed=recipe.seed, threads=threads)
