"""Training a sequence model: vocabulary, pretraining, prompted fine-tuning, calibration.

All tasks are fine-tuned in one model, or each in a copy of the pretrained one.

Every part that learns from data sees train subjects; tuning subjects choose the best weights, the calibration
and the thresholds; held-out subjects are not touched. Checkpoints live beside the run until it is complete.
"""

import math
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import torch
from torch import nn

from chartscan import artifact
from chartscan.errors import ConfigError, check_settings
from chartscan.inputs.batches import (
    Rows,
    Sampler,
    Samples,
    TokenStore,
    cut_histories,
    pretraining_windows,
    prompt_rows,
)
from chartscan.inputs.tokens import Encoder, SequenceConfig, fit_pace
from chartscan.kernels import described
from chartscan.learn.fitting.calibration import fit_calibration
from chartscan.learn.fitting.tokens import coverage_table, cut_notes, fit_tokens, token_store
from chartscan.learn.neural.epochs import Epochs, Trainee, logits_of, loss_of, mean_loss
from chartscan.learn.neural.prompting import (
    Known,
    Tuned,
    fit_probe,
    head_of,
    known_of,
    learnable,
    one_a_task,
    samples_of_split,
)
from chartscan.learn.neural.start import (
    Body,
    check_model,
    for_any_machine,
    new_body,
    objective_of,
    starting_point,
)
from chartscan.machine import keep_freed_memory
from chartscan.objectives.probe import Probe
from chartscan.runs.job import Job
from chartscan.runs.record import loss_curves, run_record, seconds_per_epoch
from chartscan.runs.seen import seen_record
from chartscan.runs.work import finished, phase_folder, run_phase
from chartscan.schema import TRAIN, TUNING
from chartscan.training import FitResult, TrainConfig

FINE_TUNING = "Fine-tuning"


class SequenceRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides what a trained sequence model is; `model`: the Config of a file in models/."""

    untracked: ClassVar[str | None] = None  # why --track has nothing to follow
    model: msgspec.Struct
    sequence: SequenceConfig
    pretrain: TrainConfig | None  # None: no pretraining here
    finetune: TrainConfig | None  # None: stop after pretraining
    start_from: str | None = None  # a trained artifact whose weights and vocabulary to begin with
    next_visit_weight: float = 1.0  # in pretraining, of when the next visit comes and what begins it
    tokens_per_batch: int = 8192  # padding included
    label_limit: int | None = None  # train labels of a task (and a quarter as many of tuning); None: all
    head_dropout: float = 0.1
    together: bool = True  # one model learns all tasks; False: each task has a copy of the pretrained model
    probe: bool = False  # in place of fine-tuning, regressions on what the pretrained model knows
    seed: int = 0

    def __post_init__(self) -> None:
        sound = {
            "next_visit_weight": 0 < self.next_visit_weight < math.inf,
            "tokens_per_batch": self.tokens_per_batch >= 1,
            "label_limit": self.label_limit is None or self.label_limit >= 1,
            "head_dropout": 0 <= self.head_dropout < 1,
            "seed": self.seed >= 0,
        }
        check_settings(sound)
        check_model(self.architecture, self.model, self.sequence, self.pretrain is not None)
        self._check_weight()
        self._check_probe()

    @property
    def architecture(self) -> str:
        """The file in models/ that the settings belong to."""
        return type(self.model).__module__.rpartition(".")[2]

    def train(self, job: Job) -> Path:
        """The whole run; gives the artifact's folder."""
        return SequenceRun(self, job).train()

    def _check_weight(self) -> None:
        if self.next_visit_weight != 1 and objective_of(self.architecture) != "next_event":
            raise ConfigError(
                f"next_visit_weight: '{self.architecture}' does not learn what comes next. Expected 1."
            )
        if self.next_visit_weight != 1 and self.pretrain is None:
            raise ConfigError("next_visit_weight: it weighs pretraining, and pretrain is null. Expected 1.")

    def _check_probe(self) -> None:
        if self.probe and self.pretrain is None and self.start_from is None:
            raise ConfigError("probe: it reads a pretrained model. Pretrain, or name one with start_from.")
        if self.probe and self.sequence.task_token_placement == "both":
            raise ConfigError(
                "probe: a task token at the beginning of a row, which pretraining has not seen, would change "
                "what is read. Expected sequence.task_token_placement=end."
            )


class SequenceRun:
    """One run of a recipe: what is fitted once and shared by its phases."""

    def __init__(self, recipe: SequenceRecipe, job: Job):
        self.recipe, self.job = recipe, job
        self.start = starting_point(recipe, job)
        if recipe.probe and self.start and self.start.head is not None:
            raise ConfigError(
                f"probe: {recipe.start_from} was fine-tuned. Start from one that was pretrained only "
                "(--set finetune=null)."
            )
        if self.start:
            self.vocabulary, self.bins = self.start.vocabulary.with_tasks(job.tasks), self.start.bins
        else:
            self.vocabulary, self.bins = fit_tokens(job, recipe.sequence)
        self.encoder = Encoder(self.vocabulary, self.bins)
        self.coverage = coverage_table(job, self.encoder, refuse=self.start is not None)
        self.seconds_per_epoch: dict[str, float] = {}  # by phase
        self.tokens_per_epoch: dict[str, int] = {}  # likewise; padding included
        torch.set_num_threads(job.threads)
        keep_freed_memory()

    @cached_property
    def train_store(self) -> TokenStore:
        return token_store(self.job, self.encoder, TRAIN)

    @cached_property
    def tuning_store(self) -> TokenStore:
        return token_store(self.job, self.encoder, TUNING)

    def train(self) -> Path:
        """Pretraining and fine-tuning, as far as the recipe has them; then the working folder goes."""
        body = self.pretrained()
        artifact.save(self.job.out, self.fitted(body))
        finished(self.job)
        return self.job.out

    def pretrained(self) -> Body:
        """The model with its objective's head, taught where the recipe says so."""
        recipe = self.recipe
        body = new_body(
            recipe.architecture,
            recipe.model,
            self.vocabulary,
            self.start,
            recipe.seed,
            recipe.next_visit_weight,
        )
        if recipe.pretrain is None or body.head is None:
            return body
        context = recipe.sequence.context
        data = self._epochs(self.train_store, pretraining_windows(self.train_store, context))
        tuning = self._epochs(self.tuning_store, pretraining_windows(self.tuning_store, context))
        self._fit("Pretraining", Trainee(body.model, body.head), data, tuning, recipe.pretrain)
        return body

    def fitted(self, body: Body) -> artifact.Artifact:
        """All tasks in the body itself, or each in a copy of it, as one artifact."""
        recipe, job = self.recipe, self.job
        if recipe.probe:
            tuned = self.probed(body.model)
            return self._model(body.model, body.head, tuned, self._run(body, tuned.metrics))
        if recipe.finetune is None:
            return self._model(body.model, body.head, None, self._run(body, {}))
        if recipe.together or len(job.tasks) == 1:
            tuned = self.finetune(body.model, recipe.finetune, job.tasks, FINE_TUNING)
            return self._model(body.model, body.head, tuned, self._run(body, tuned.metrics))
        return self._apart(body, recipe.finetune)

    def probed(self, model: Any) -> Tuned:
        """Regressions of every task on what `model` knows; the model stays as it is."""
        model.to(self.job.device)
        known = {split: self._known(model, split) for split in (TRAIN, TUNING)}
        return fit_probe(self.job, model.width, known)

    def _known(self, model: Any, split: str) -> Known:
        store = self.train_store if split == TRAIN else self.tuning_store
        samples, data = self._questions(model, store, split, self.job.tasks)
        return known_of(model, data, samples)

    def finetune(self, model: Any, config: TrainConfig, tasks: list[str], title: str) -> Tuned:
        """The prompted head of `model`, taught together with it, and its calibration on tuning samples."""
        train, data = self._questions(model, self.train_store, TRAIN, tasks)
        samples, tuning = self._questions(model, self.tuning_store, TUNING, tasks)
        trainee = Trainee(model, head_of(model.width, tasks, self.recipe.head_dropout, train))
        result = self._fit(title, trainee, data, tuning, config)
        logits = logits_of(trainee, tuning, len(samples.labels))
        calibration = fit_calibration(tasks, samples.tasks, samples.labels, logits, self.job.notes)
        return Tuned(tuple(tasks), trainee.head, calibration, result.metrics)

    def _apart(self, body: Body, config: TrainConfig) -> artifact.EnsembleArtifact:
        """A copy of the body fine-tuned for each task."""
        models, tuned = [], []
        for task in learnable(self.job, self.recipe.label_limit, self.recipe.seed):
            torch.manual_seed(self.recipe.seed)  # no task's model depends on which others there are
            models.append(deepcopy(body.model))
            tuned.append(self.finetune(models[-1], config, [task], f"{FINE_TUNING} {task}"))
            models[-1].cpu()
        run = self._run(body, {one.tasks[0]: one.metrics for one in tuned})
        own = {name: value for name, value in run.items() if name != "curves"}  # of all tasks, kept once
        members = [self._model(model, None, one, own) for model, one in zip(models, tuned, strict=True)]
        return one_a_task(self.recipe.architecture, members, run)

    def _model(
        self, model: Any, head: nn.Module | None, tuned: Tuned | None, run: dict[str, Any]
    ) -> artifact.SequenceArtifact:
        """A model with the head of its pretraining and that of its tasks, as far as there are any."""
        forecasts = objective_of(self.recipe.architecture) == "next_event"
        return artifact.SequenceArtifact(
            name=self.recipe.architecture,
            config=for_any_machine(self.recipe.model),
            model=model,
            vocabulary=self.vocabulary,
            bins=self.bins,
            tasks=tuned.tasks if tuned else (),
            head=tuned.head if tuned and not isinstance(tuned.head, Probe) else None,
            probe=tuned.head if tuned and isinstance(tuned.head, Probe) else None,
            forecast=head if forecasts else None,
            masked=None if forecasts else head,
            pace=fit_pace([self.train_store.tokens], len(self.vocabulary)) if forecasts else None,
            calibration=tuned.calibration if tuned else {},
            run=run,
        )

    def _run(self, body: Body, metrics: dict[str, Any]) -> dict[str, Any]:
        """The run record; `metrics` of the tuning samples."""
        return run_record(self.job, self.recipe) | {
            "kernels": described(getattr(self.recipe.model, "backend", None)),
            "seen": seen_record(self.job, self.start.run if self.start else None),
            "coverage": self.coverage,
            "tuning": metrics,
            "curves": loss_curves(self.job.work),
            "parameters": sum(p.numel() for p in body.model.parameters()),  # of one model
            "seconds_per_epoch": self.seconds_per_epoch,
            "tokens_per_epoch": self.tokens_per_epoch,
        }

    def _epochs(self, store: TokenStore, rows: Rows) -> Epochs:
        return Epochs(store, rows, Sampler(rows.lengths, self.recipe.tokens_per_batch, self.recipe.seed))

    def _questions(
        self, model: Any, store: TokenStore, split: str, tasks: list[str]
    ) -> tuple[Samples, Epochs]:
        """The labelled samples of a split, and batches of prompts that ask them.

        A model that is not causal makes a pass for each prompt: each is a row, so that batches count them.
        """
        samples = samples_of_split(self.job, split, tasks, self.recipe.label_limit, self.recipe.seed)
        if split == TRAIN:
            cut = cut_histories(store, samples, self.vocabulary)
            self.job.notes.extend(cut_notes(tasks, samples.tasks, cut))
        rows = prompt_rows(store, samples, self.vocabulary, tasks, apart=not model.CAUSAL)
        return samples, self._epochs(store, rows)

    def _fit(
        self, title: str, trainee: Trainee, data: Epochs, tuning: Epochs, config: TrainConfig
    ) -> FitResult:
        result = run_phase(
            self.job,
            self.recipe,
            title,
            trainee,
            data,
            lambda _, batch: loss_of(trainee, batch),
            msgspec.structs.replace(config, seed=config.seed + self.recipe.seed),
            lambda _: {"loss": mean_loss(trainee, tuning)},
        )
        folder = phase_folder(self.job, title)
        self.seconds_per_epoch[title.lower()] = seconds_per_epoch(folder, data, config)
        self.tokens_per_epoch[title.lower()] = data.tokens
        return result
