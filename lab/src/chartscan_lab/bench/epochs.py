"""What an epoch of a recipe is, counted on a dataset: rows, positions and prompts, and a few of its batches.

The dataset is the user's own, or a small simulated hospital. Rows are made as training makes them: windows
for pretraining; for fine-tuning the visible history of each prompt, shared by all prompts of a patient where
the model is causal, else a row for each of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import numpy as np

from chartscan.batch import Batch
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.console import Display
from chartscan.errors import ConfigError
from chartscan.find import find
from chartscan.inputs.batches import Sampler, collate, samples_of
from chartscan.inputs.readers.tokens import TokenBatches
from chartscan.labels.files import load_labels
from chartscan.labels.making import make_labels
from chartscan.learn.networks import NetworkRecipe, reads_tokens
from chartscan.learn.reading import fit_reader, read_split
from chartscan.recipes import find_recipe
from chartscan.runs.job import Job
from chartscan.schema import TRAIN
from chartscan.simulator import SimulateConfig, simulate
from chartscan.store.dataset import Dataset

Phase = Literal["pretraining", "fine-tuning"]


class Epoch(NamedTuple):
    """One pass over the train subjects; `timed` are some of its rows as smaller batches, short to long."""

    rows: int
    positions: int  # of all batches as the recipe makes them, padding included
    updates: int
    prompts: int  # answered; 0 in pretraining
    timed: list[Batch]

    @property
    def prompts_per_row(self) -> float:
        return self.prompts / self.rows


class Asked(NamedTuple):
    """How much is asked of the train patients who have labels."""

    patients: int
    prompts: int  # a label each
    instants: int  # prediction times of a patient; one asks for several tasks


class Hospital(NamedTuple):
    """A dataset with its labels, ready for recipes; `recipe`'s tokens are fitted on its train subjects."""

    job: Job
    asked: Asked


@contextmanager
def hospital(data: str | None, labels: str | None, subjects: int) -> Iterator[Hospital]:
    """The dataset and labels given, or those of `subjects` simulated patients, gone afterwards."""
    with TemporaryDirectory() as scratch:
        dataset = Dataset.open(Path(data)) if data else _simulated(Path(scratch), subjects)
        found = load_labels(Path(labels)) if labels else make_labels(dataset, None, Display(quiet=True))
        job = Job(dataset, Path(scratch) / "run", found, Display(quiet=True))
        yield Hospital(job, asked(job))


def asked(job: Job) -> Asked:
    """Labels and prediction times of the train subjects, all tasks together."""
    samples = samples_of({task: job.labels_of(task, TRAIN) for task in job.tasks}, job.tasks)
    instants = {*zip(samples.subject_ids.tolist(), samples.prediction_times.tolist(), strict=True)}
    return Asked(len(np.unique(samples.subject_ids)), len(samples.labels), len(instants))


class Epochs(NamedTuple):
    """The epochs of one recipe by phase, and the size of its vocabulary."""

    vocabulary: int
    by_phase: dict[Phase, Epoch]


def recipe_of(name: str) -> NetworkRecipe:
    """The recipe of a token model; ConfigError for any other."""
    found = find_recipe(name)
    if not reads_tokens(found):
        raise ConfigError(f"recipes: '{name}' is no recipe of a token model.")
    return found


def epochs(recipe: NetworkRecipe, where: Hospital, tokens: int, steps: int) -> Epochs:
    """The recipe's phases; `steps` batches of at most `tokens` tokens of each are for timing."""
    job, model = where.job, find("models", recipe.architecture).Model
    reader = fit_reader(job, recipe.reader)
    records: Any = read_split(job, reader, TRAIN)[0]
    found: dict[Phase, Epoch] = {}
    if recipe.pretrain:
        windows = records.pretraining(model, recipe.batch_size, recipe.seed)
        found["pretraining"] = _epoch(recipe, windows, tokens, steps)
    if recipe.finetune:
        labels = {task: job.labels_of(task, TRAIN) for task in job.tasks}
        prompts = records.asked(model, job.tasks, labels, recipe.batch_size, recipe.seed)
        found["fine-tuning"] = _epoch(recipe, prompts, tokens, steps)
    return Epochs(reader.sizes[0], found)


def _epoch(recipe: NetworkRecipe, data: TokenBatches, tokens: int, steps: int) -> Epoch:
    store, rows, whole = data.store, data.rows, data.passes
    small = Sampler(rows.lengths, tokens, recipe.seed).in_order()
    spread = np.unique(np.linspace(0, len(small) - 1, steps + 2)[1:-1].round().astype(int))
    return Epoch(
        rows=len(rows),
        positions=sum(len(batch) * int(rows.lengths[batch].max()) for batch in whole),
        updates=len(whole),
        prompts=len(rows.questions.rows) if rows.questions else 0,
        timed=[collate(store, rows, small[index]) for index in spread],
    )


def _simulated(folder: Path, subjects: int) -> Dataset:
    simulate(folder / "export", SimulateConfig(subjects=subjects, seed=0))
    plan = IngestPlan("fhir", folder / "export", folder / "dataset", [], [])
    return run_ingest(plan, Display(quiet=True))[0]
