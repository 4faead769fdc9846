"""Training a sequence model: vocabulary, pretraining, prompted fine-tuning of all tasks at once, calibration.

Every part that learns from data sees train subjects; tuning subjects choose the best weights, the calibration
and the thresholds; held-out subjects are not touched. Checkpoints live beside the run until it is complete.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import torch
from torch import nn

from chartscan import artifact
from chartscan.batch import Batch
from chartscan.batches import (
    Rows,
    Sampler,
    Samples,
    TokenStore,
    collate,
    pretraining_windows,
    prompt_rows,
    samples_in,
    samples_of,
)
from chartscan.errors import ChartscanError, ConfigError, DataError
from chartscan.models import ehrmamba
from chartscan.objectives.next_event import NextEvent
from chartscan.objectives.prompted import Prompted
from chartscan.recipes._calibration import fit_calibration
from chartscan.recipes._few import limited
from chartscan.recipes._job import Job, labels_of
from chartscan.recipes._run_record import run_record
from chartscan.recipes._tokens import coverage_table, fit_tokens, token_store
from chartscan.recipes._work import finished
from chartscan.schema import TRAIN, TUNING
from chartscan.sequences import Encoder, SequenceConfig
from chartscan.training import FitResult, StepRecord, TrainConfig, fit
from chartscan.training.tracking import tensorboard


class SequenceRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides what a trained sequence model is."""

    architecture: str  # of the file in models/
    model: ehrmamba.Config
    sequence: SequenceConfig
    pretrain: TrainConfig | None  # None: no pretraining here
    finetune: TrainConfig | None  # None: stop after pretraining
    start_from: str | None = None  # a trained artifact whose weights and vocabulary to begin with
    tokens_per_batch: int = 8192  # padding included
    label_limit: int | None = None  # train labels of a task (and a quarter as many of tuning); None: all
    head_dropout: float = 0.1
    seed: int = 0

    def train(self, job: Job) -> Path:
        """The whole run; gives the artifact's folder."""
        return SequenceRun(self, job).train()


class Trainee(nn.Module):
    """A sequence model with the head of one objective."""

    model: Any
    head: Any

    def __init__(self, model: nn.Module, head: nn.Module):
        super().__init__()
        self.model, self.head = model, head


@dataclass(frozen=True)
class Epochs:
    """Rows of a store as training batches; a pure function of (epoch, index)."""

    store: TokenStore
    rows: Rows
    sampler: Sampler

    @cached_property
    def _cache(self) -> dict[int, list[np.ndarray]]:
        return {}

    def _batches(self, epoch: int) -> list[np.ndarray]:
        if epoch not in self._cache:
            self._cache[epoch] = self.sampler.epoch(epoch)
        return self._cache[epoch]

    def n_batches(self, epoch: int) -> int:
        return len(self._batches(epoch))

    def batch(self, epoch: int, index: int) -> Batch:
        return collate(self.store, self.rows, self._batches(epoch)[index])

    def in_order(self) -> Iterator[tuple[np.ndarray, Batch]]:
        """Every row once, shortest first, with the samples that its prompts answer."""
        for indices in self.sampler.in_order():
            yield samples_in(self.rows, indices), collate(self.store, self.rows, indices)


class SequenceRun:
    """One run of a recipe: what is fitted once and shared by its phases."""

    def __init__(self, recipe: SequenceRecipe, job: Job):
        self.recipe, self.job = recipe, job
        self.start = starting_point(recipe)
        if self.start:
            self.vocabulary, self.bins = self.start.vocabulary.with_tasks(job.tasks), self.start.bins
        else:
            self.vocabulary, self.bins = fit_tokens(job, recipe.sequence)
        self.encoder = Encoder(self.vocabulary, self.bins)
        torch.set_num_threads(job.threads)

    @cached_property
    def train_store(self) -> TokenStore:
        return token_store(self.job.dataset, self.encoder, TRAIN, self.job.watcher)

    @cached_property
    def tuning_store(self) -> TokenStore:
        return token_store(self.job.dataset, self.encoder, TUNING, self.job.watcher)

    def train(self) -> Path:
        """Pretraining and fine-tuning, as far as the recipe has them; calibration; the artifact."""
        forecast = self.pretrain()
        if self.recipe.finetune is None:
            return self.save(forecast, None, {}, {})
        trainee, samples, logits, metrics = self.finetune(forecast.model, self.recipe.finetune)
        calibration = fit_calibration(self.job.tasks, samples.tasks, samples.labels, logits)
        return self.save(forecast, trainee.head, calibration, metrics)

    def new_trainee(self) -> Trainee:
        """Model and forecasting head: weights of the starting point, or drawn from the recipe's seed."""
        torch.manual_seed(self.recipe.seed)
        size = len(self.vocabulary)
        trainee = Trainee(ehrmamba.Model(self.recipe.model, size), NextEvent(self.recipe.model.d_model, size))
        if self.start:
            copy_weights(self.start.model, trainee.model)
            if self.start.forecast:
                copy_weights(self.start.forecast, trainee.head)
        return trainee

    def pretrain(self) -> Trainee:
        """A model that predicts the next event, with its forecasting head."""
        trainee = self.new_trainee()
        config = self.recipe.pretrain
        if config is None:
            return trainee
        context = self.recipe.sequence.context
        data = self._epochs(self.train_store, pretraining_windows(self.train_store, context))
        tuning = self._epochs(self.tuning_store, pretraining_windows(self.tuning_store, context))
        self._fit("Pretraining", trainee, data, config, lambda _: {"loss": mean_loss(trainee, tuning)})
        return trainee

    def finetune(
        self, model: nn.Module, config: TrainConfig
    ) -> tuple[Trainee, Samples, np.ndarray, dict[str, float]]:
        """The model with the prompted head; tuning samples and their logits, for calibration."""
        trainee = Trainee(
            model, Prompted(self.recipe.model.d_model, len(self.job.tasks), self.recipe.head_dropout)
        )
        data, _ = self._questions(self.train_store, TRAIN)
        tuning, samples = self._questions(self.tuning_store, TUNING)
        _set_base_rates(trainee.head, data.rows)
        result = self._fit(
            "Fine-tuning", trainee, data, config, lambda _: {"loss": mean_loss(trainee, tuning)}
        )
        return trainee, samples, logits_of(trainee, tuning, len(samples.labels)), result.metrics

    def save(
        self,
        pretrained: Trainee,
        head: nn.Module | None,
        calibration: dict[str, artifact.Calibration],
        metrics: dict[str, float],
    ) -> Path:
        """The artifact, published whole; then the working folder goes."""
        run = run_record(self.job, self.recipe) | {
            "coverage": coverage_table(self.job.dataset, self.encoder),
            "tuning": metrics,
            "curves": loss_curves(self.job.work),
            "parameters": sum(p.numel() for p in pretrained.model.parameters()),
        }
        found = artifact.SequenceArtifact(
            name=self.recipe.architecture,
            config=self.recipe.model,
            model=pretrained.model,
            vocabulary=self.vocabulary,
            bins=self.bins,
            tasks=tuple(self.job.tasks) if head else (),
            head=head,
            forecast=pretrained.head,
            calibration=calibration,
            run=run,
        )
        artifact.save(self.job.out, found)
        finished(self.job)
        return self.job.out

    def _epochs(self, store: TokenStore, rows: Rows) -> Epochs:
        return Epochs(store, rows, Sampler(rows.lengths, self.recipe.tokens_per_batch, self.recipe.seed))

    def _questions(self, store: TokenStore, split: str) -> tuple[Epochs, Samples]:
        """The labelled samples of a split as batches of prompts."""
        tasks = self.job.tasks
        tables = {}
        for task in tasks:
            labels = labels_of(self.job.dataset, self.job.labels[task][0], split)
            tables[task] = limited(labels, task, split, self.recipe.label_limit, self.recipe.seed)
        samples = samples_of(tables, tasks)
        if not len(samples.labels):
            raise DataError(
                f"No labels for subjects of the {split} split. Label the dataset that is trained on."
            )
        return self._epochs(store, prompt_rows(store, samples, self.vocabulary, tasks)), samples

    def _fit(
        self, title: str, trainee: Trainee, data: Epochs, config: TrainConfig, evaluate: Callable[..., Any]
    ) -> FitResult:
        """One phase, in a folder of its own under the working folder."""
        job = self.job
        tracking = tensorboard(job.track / title.lower()) if job.track else nullcontext()
        with job.watcher.progress(title, "steps") as progress, tracking as track:

            def report(record: StepRecord) -> None:
                progress(record.step, record.total_steps, _text(record))
                if track:
                    track(record)

            result = fit(
                trainee,
                data,
                lambda _, batch: trainee.head.loss(trainee.model, batch),
                config,
                folder=job.work / title.lower(),
                evaluate=evaluate,
                resume=job.resume,
                report=report,
                device=job.device,
                fingerprint=self._fingerprint(),
            )
        if result.interrupted:
            raise Interrupted(f"{title} was interrupted and saved. Go on with the same command and --resume.")
        return result

    def _fingerprint(self) -> str:
        """Whatever decides the losses beside the settings of the training loop."""
        labels = {
            task: hashlib.sha256(_content(table)).hexdigest() for task, (table, _) in self.job.labels.items()
        }
        facts = [self.job.dataset.fingerprint, self.vocabulary.hash, labels, self.recipe]
        return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()


def _content(labels: pa.Table) -> bytes:
    """What a hash of labels is made of."""
    columns = [labels[name].to_numpy(zero_copy_only=False) for name in labels.column_names]
    return b"".join(np.ascontiguousarray(column).tobytes() for column in columns)


class Interrupted(ChartscanError):
    """Training was asked to stop and has saved its state."""

    exit_code = 143


def starting_point(recipe: SequenceRecipe) -> artifact.SequenceArtifact | None:
    """The artifact that `start_from` names; ConfigError where it is of another kind or size."""
    if recipe.start_from is None:
        return None
    found = artifact.load(Path(recipe.start_from))
    if not isinstance(found, artifact.SequenceArtifact) or found.name != recipe.architecture:
        raise ConfigError(f"start_from: {recipe.start_from} is a {found.name}, not a {recipe.architecture}.")
    if found.config != recipe.model:
        raise ConfigError(
            f"start_from: {recipe.start_from} has other model settings. Set them to {found.config}."
        )
    return found


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Weights of `source` into `target`, which may have more rows (new tokens), kept as they were drawn."""
    given = source.state_dict()
    for name, tensor in target.state_dict().items():
        tensor[: len(given[name])] = given[name]


def _text(record: StepRecord) -> str:
    """What is shown beside the bar."""
    loss = "" if record.loss is None else f"loss {record.loss:.4f}, "
    tuning = f", tuning {record.metrics['loss']:.4f}" if "loss" in record.metrics else ""
    return f"{loss}{record.tokens_per_second:,.0f} targets/s{tuning}"


def mean_loss(trainee: Trainee, data: Epochs) -> float:
    """Mean loss over all rows."""
    total, count = 0.0, 0.0
    for _, batch in data.in_order():
        loss, weight = trainee.head.loss(trainee.model, batch)
        total, count = total + float(loss), count + float(weight)
    return total / max(count, 1.0)


@torch.no_grad()
def logits_of(trainee: Trainee, data: Epochs, n: int) -> np.ndarray:
    """Logits of all samples, in their order."""
    trainee.eval()
    logits = np.zeros(n)
    for samples, batch in data.in_order():
        logits[samples] = trainee.head.predict(trainee.model, batch).double().numpy()
    return logits


def _set_base_rates(head: Prompted, rows: Rows) -> None:
    """Start each task at the log odds of its train labels."""
    assert rows.questions is not None
    labels, tasks = rows.questions.labels, rows.questions.tasks
    bias = head.task_bias
    with torch.no_grad():
        for task in range(len(bias)):
            answers = labels[tasks == task]
            positives = float(answers.sum()) + 0.5
            bias[task] = float(np.log(positives / (len(answers) + 1 - positives)))


def loss_curves(work: Path) -> dict[str, list[dict[str, float]]]:
    """At most 400 points of each phase's losses, and every evaluation."""
    curves = {}
    for file in sorted(work.glob("*/*.jsonl")):
        rows = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
        curves[f"{file.parent.name}/{file.stem}"] = rows[:: max(1, len(rows) // 400)]
    return curves
