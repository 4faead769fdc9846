"""The trainer of real studies: recipes by name, jobs with their own subjects, artifacts asked in place."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from chartscan import artifact as artifacts
from chartscan.commands.train import recipe_of
from chartscan.errors import ConfigError
from chartscan.learn.networks import reads_tokens
from chartscan.notes import Notes
from chartscan.objectives import prompted
from chartscan.prediction import predict
from chartscan.runs import work
from chartscan.runs.job import Job, Watcher
from chartscan.runs.seen import seen
from chartscan.schema import Counts
from chartscan.settings import with_settings
from chartscan.store.dataset import Dataset
from chartscan_lab.bench import efficiency as bench
from chartscan_lab.bench.epochs import Hospital, asked
from chartscan_lab.study._cells import Training


class RecipeTrainer:
    """Trains recipes on `dataset` with the labels of one task or of several."""

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

    def body_of(self, recipe: msgspec.Struct) -> msgspec.Struct | None:
        """The pretraining of a sequence recipe, with nothing that only its fine-tuning reads."""
        if not reads_tokens(recipe) or recipe.pretrain is None or recipe.finetune is None:
            return None
        return msgspec.structs.replace(
            recipe, finetune=None, together=True, probe=False, label_limit=None, head=prompted.Config()
        )

    def train(self, training: Training, out: Path, resume: bool, start: Path | None) -> None:
        """As `chartscan train` does; an interrupted run goes on with `resume`."""
        recipe = training.recipe
        if start:
            own = {"pretrain": None, "next_visit_weight": 1.0, "start_from": str(start)}
            recipe = msgspec.structs.replace(recipe, **own)
        job = Job(
            dataset=self.dataset,
            out=out,
            labels=self.labels,
            watcher=self.watcher,
            resume=resume,
            threads=self.threads,
            device=self.device,
            division=None if training.own_split else training.subjects,
            notes=Notes(self.watcher.note),
        )
        work.begin(job, recipe)
        recipe.train(job)  # type: ignore[attr-defined]

    def ask(self, artifact: Path, labels: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """PREDICTIONS of `labels`; ConfigError where the artifact has learned from one of their subjects."""
        model = artifacts.load(artifact, self.device)
        asked = np.concatenate([table["subject_id"].to_numpy() for table in labels.values()])
        known = seen(model.run, np.unique(asked))
        if known:
            raise ConfigError(
                f"{artifact} has learned from {known} of the subjects it is asked about. Choose "
                "another --out."
            )
        data, learned = self.dataset, {task: labels[task] for task in labels if task in model.tasks}
        with self.watcher.progress("Predicting", "batches") as progress:
            return predict(model, lambda: map(data.read_shard, data.shards()), learned, progress)

    def measure(self, recipes: Mapping[str, msgspec.Struct], settings: bench.Settings) -> dict[str, Any]:
        """The bench on the dataset and labels of the study."""
        sequence = {name: one for name, one in recipes.items() if reads_tokens(one)}
        with TemporaryDirectory() as scratch:
            job = Job(self.dataset, Path(scratch) / "run", self.labels, self.watcher)
            with self.watcher.progress("Epochs and batches", "measurements") as progress:
                return bench.of_recipes(settings, sequence, Hospital(job, asked(job)), progress)

    def run_record(self, artifact: Path) -> Mapping[str, Any]:
        """run.json."""
        return msgspec.json.decode((artifact / "run.json").read_bytes())
