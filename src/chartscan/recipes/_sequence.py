"""Training a sequence model: vocabulary, pretraining, prompted fine-tuning of all tasks at once, calibration.

Every part that learns from data sees train subjects; tuning subjects choose the best weights, the calibration
and the thresholds; held-out subjects are not touched. Checkpoints live beside the run until it is complete.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from chartscan import artifact
from chartscan.batches import (
    Rows,
    Sampler,
    Samples,
    TokenStore,
    pretraining_windows,
    prompt_rows,
    samples_of,
)
from chartscan.errors import DataError, check_settings
from chartscan.find import find
from chartscan.heap import keep_freed_memory
from chartscan.kernels import described
from chartscan.models import ehrmamba, ehrmamba2
from chartscan.objectives.next_event import NextEvent
from chartscan.objectives.prompted import Prompted
from chartscan.recipes._calibration import fit_calibration
from chartscan.recipes._curves import loss_curves
from chartscan.recipes._epochs import Epochs
from chartscan.recipes._few import limited
from chartscan.recipes._job import Job
from chartscan.recipes._phase import run_phase
from chartscan.recipes._run_record import run_record
from chartscan.recipes._seen import seen_record
from chartscan.recipes._start import copy_weights, for_any_machine, starting_point
from chartscan.recipes._tokens import coverage_table, fit_tokens, token_store
from chartscan.recipes._trainee import Trainee, logits_of, mean_loss
from chartscan.recipes._work import finished
from chartscan.schema import TRAIN, TUNING
from chartscan.sequences import Encoder, SequenceConfig, fit_pace
from chartscan.training import FitResult, TrainConfig


class SequenceRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides what a trained sequence model is; `model`: the Config of a file in models/."""

    model: msgspec.Struct
    sequence: SequenceConfig
    pretrain: TrainConfig | None  # None: no pretraining here
    finetune: TrainConfig | None  # None: stop after pretraining
    start_from: str | None = None  # a trained artifact whose weights and vocabulary to begin with
    tokens_per_batch: int = 8192  # padding included
    label_limit: int | None = None  # train labels of a task (and a quarter as many of tuning); None: all
    head_dropout: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        sound = {
            "tokens_per_batch": self.tokens_per_batch >= 1,
            "label_limit": self.label_limit is None or self.label_limit >= 1,
            "head_dropout": 0 <= self.head_dropout < 1,
            "seed": self.seed >= 0,
        }
        check_settings(sound)

    @property
    def architecture(self) -> str:
        """The file in models/ that the settings belong to."""
        return type(self.model).__module__.rpartition(".")[2]

    def train(self, job: Job) -> Path:
        """The whole run; gives the artifact's folder."""
        return SequenceRun(self, job).train()


class EhrmambaRecipe(SequenceRecipe, frozen=True, kw_only=True):
    """EHRMamba."""

    model: ehrmamba.Config


class Ehrmamba2Recipe(SequenceRecipe, frozen=True, kw_only=True):
    """EHRMamba-2."""

    model: ehrmamba2.Config


class SequenceRun:
    """One run of a recipe: what is fitted once and shared by its phases."""

    def __init__(self, recipe: SequenceRecipe, job: Job):
        self.recipe, self.job = recipe, job
        self.start = starting_point(recipe, job)
        if self.start:
            self.vocabulary, self.bins = self.start.vocabulary.with_tasks(job.tasks), self.start.bins
        else:
            self.vocabulary, self.bins = fit_tokens(job, recipe.sequence)
        self.encoder = Encoder(self.vocabulary, self.bins)
        torch.set_num_threads(job.threads)
        keep_freed_memory()

    @cached_property
    def train_store(self) -> TokenStore:
        return token_store(self.job, self.encoder, TRAIN)

    @cached_property
    def tuning_store(self) -> TokenStore:
        return token_store(self.job, self.encoder, TUNING)

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
        model = find("models", self.recipe.architecture).Model(self.recipe.model, size)
        trainee = Trainee(model, NextEvent(model.width, size))
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
        self._fit("Pretraining", trainee, data, tuning, config)
        return trainee

    def finetune(
        self, model: Any, config: TrainConfig
    ) -> tuple[Trainee, Samples, np.ndarray, dict[str, float]]:
        """The model with the prompted head; tuning samples and their logits, for calibration."""
        head = Prompted(model.width, len(self.job.tasks), self.recipe.head_dropout)
        trainee = Trainee(model, head)
        data, _ = self._questions(self.train_store, TRAIN)
        tuning, samples = self._questions(self.tuning_store, TUNING)
        _set_base_rates(trainee.head, data.rows)
        result = self._fit("Fine-tuning", trainee, data, tuning, config)
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
            "kernels": described(getattr(self.recipe.model, "backend", None)),
            "seen": seen_record(self.job, self.start.run if self.start else None),
            "coverage": coverage_table(self.job, self.encoder),
            "tuning": metrics,
            "curves": loss_curves(self.job.work),
            "parameters": sum(p.numel() for p in pretrained.model.parameters()),
        }
        found = artifact.SequenceArtifact(
            name=self.recipe.architecture,
            config=for_any_machine(self.recipe.model),
            model=pretrained.model,
            vocabulary=self.vocabulary,
            bins=self.bins,
            tasks=tuple(self.job.tasks) if head else (),
            head=head,
            forecast=pretrained.head,
            pace=fit_pace([self.train_store.tokens], len(self.vocabulary)),
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
            labels = self.job.labels_of(task, split)
            tables[task] = limited(labels, task, split, self.recipe.label_limit, self.recipe.seed)
        samples = samples_of(tables, tasks)
        if not len(samples.labels):
            raise DataError(
                f"No labels for subjects of the {split} split. Label the dataset that is trained on."
            )
        return self._epochs(store, prompt_rows(store, samples, self.vocabulary, tasks)), samples

    def _fit(
        self, title: str, trainee: Trainee, data: Epochs, tuning: Epochs, config: TrainConfig
    ) -> FitResult:
        return run_phase(
            self.job,
            self.recipe,
            title,
            trainee,
            data,
            lambda _, batch: trainee.head.loss(trainee.model, batch),
            config,
            lambda _: {"loss": mean_loss(trainee, tuning)},
        )


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
