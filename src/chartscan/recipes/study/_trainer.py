"""The trainer of real studies: recipes by name, jobs with their own subjects, artifacts asked in place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from chartscan import artifact as artifacts
from chartscan.cohort import Counts
from chartscan.errors import ConfigError
from chartscan.predict import predict
from chartscan.recipes import _work
from chartscan.recipes._job import Job, Watcher
from chartscan.recipes._seen import seen
from chartscan.recipes.study._cells import Training
from chartscan.recipes.train import recipe_of
from chartscan.settings import with_settings
from chartscan.store.dataset import Dataset


class RecipeTrainer:
    """Trains recipes on `dataset` with the labels of one task."""

    def __init__(
        self,
        dataset: Dataset,
        labels: dict[str, tuple[pa.Table, Counts | None]],
        watcher: Watcher,
        threads: int = 1,
        device: str = "cpu",
    ):
        self.dataset, self.labels, self.watcher = dataset, labels, watcher
        self.threads, self.device = threads, device
        self._recipes: dict[str, msgspec.Struct] = {}  # finding one costs a look at every file of the package

    def resolve(self, recipe: str, settings: list[str]) -> msgspec.Struct:
        """The recipe with its settings."""
        if recipe not in self._recipes:
            self._recipes[recipe] = recipe_of(recipe, [])
        return with_settings(self._recipes[recipe], settings)

    def train(self, training: Training, out: Path, resume: bool) -> None:
        """As `chartscan train` does; an interrupted run goes on with `resume`."""
        job = Job(
            dataset=self.dataset,
            out=out,
            labels=self.labels,
            watcher=self.watcher,
            resume=resume,
            threads=self.threads,
            device=self.device,
            division=None if training.own_split else training.subjects,
        )
        _work.begin(job, training.recipe)
        training.recipe.train(job)  # type: ignore[attr-defined]

    def ask(self, artifact: Path, labels: pa.Table) -> pa.Table:
        """PREDICTIONS of `labels`; ConfigError where the artifact has learned from one of their subjects."""
        model = artifacts.load(artifact)
        known = seen(model.run, np.unique(labels["subject_id"].to_numpy()))
        if known:
            raise ConfigError(
                f"{artifact} has learned from {known} of the subjects it is asked about. Remove that folder."
            )
        (task,) = self.labels
        data = self.dataset
        with self.watcher.progress("Predicting", "batches") as progress:
            return predict(model, lambda: map(data.read_shard, data.shards()), {task: labels}, progress)[task]

    def run_record(self, artifact: Path) -> Mapping[str, Any]:
        """run.json."""
        return msgspec.json.decode((artifact / "run.json").read_bytes())
