"""Training a network: reader, pretraining, fine-tuning, calibration.

All tasks are fine-tuned in one model, or each in a copy of the pretrained one. Every part that learns from
data sees train subjects; tuning subjects choose the best weights, the calibration and the thresholds, and
with `refit` are then trained on too, when nothing is left to choose. Held-out subjects are not
touched. Checkpoints live beside the run until it is complete.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

import msgspec
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from chartscan import artifact
from chartscan.artifact import AnyArtifact, Artifact, Calibration, Ensemble, Network, answers_of
from chartscan.artifact.learned import KEPT
from chartscan.batch import Loss
from chartscan.errors import ConfigError, check_settings
from chartscan.find import find, name_of
from chartscan.inputs.readers import Asked, Reader, ReaderConfig, TokenReader, reader_type
from chartscan.kernels import described
from chartscan.learn.calibration import DIRECTIONS, fit_calibration, learnable, mean_scores
from chartscan.learn.probing import fit_probe, known_of
from chartscan.learn.reading import Readings, fit_reader
from chartscan.learn.start import Body, for_any_machine, new_body, pretraining_of, starting_point
from chartscan.learn.teacher import Teacher, mixed, teacher_probabilities, teacher_record
from chartscan.machine import keep_freed_memory
from chartscan.runs.job import Job
from chartscan.runs.record import loss_curves, run_record, seconds_per_epoch
from chartscan.runs.seen import seen_record
from chartscan.runs.work import finished, phase_folder, run_phase
from chartscan.schema import TRAIN, TUNING
from chartscan.training import Batches, Evaluation, FitResult, TrainConfig

PRETRAINING, FINE_TUNING, REFITTING = "Pretraining", "Fine-tuning", "Refitting"
BOTH = "train and tuning"


class NetworkRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of a trained network; `model` is the Config of a file in models/."""

    untracked: ClassVar[str | None] = None  # why --track has nothing to follow
    model: msgspec.Struct
    reader: ReaderConfig
    head: msgspec.Struct  # the Config of a file in objectives/; by default of the one that HEAD names
    pretrain: TrainConfig | None = None  # None: no pretraining here
    finetune: TrainConfig | None  # None: stop after pretraining
    start_from: str | None = None  # a trained artifact whose weights and reader to begin with
    next_visit_weight: float = 1.0  # in pretraining, of when the next visit comes and what begins it
    batch_size: int  # tokens of a batch, padding included; of models that read time series: stays
    label_limit: int | None = None  # train labels of a task (and a quarter as many of tuning); None: all
    together: bool = True  # one model learns all tasks; False: each task has a copy of the pretrained model
    probe: bool = False  # in place of fine-tuning, regressions on what the pretrained model knows
    teacher: Teacher | None = None  # mixes into the train answers; None: the labels alone
    refit: bool = False  # train again on train and tuning after calibration; not within ensembles
    seed: int = 0

    def __post_init__(self) -> None:
        tune, pretrain = self.finetune, self.pretrain
        right = tune is None or DIRECTIONS.get(tune.metric) == tune.direction
        chosen = tune is None or tune.keep == "best" or pretrain is not None or self.teacher is not None
        sound = {
            "next_visit_weight": 0 < self.next_visit_weight < math.inf,
            "batch_size": self.batch_size >= 1,
            "label_limit": self.label_limit is None or self.label_limit >= 1,
            "seed": self.seed >= 0,
            f"finetune.metric and .direction (known: {DIRECTIONS})": right,
            "pretrain.metric (known: loss)": pretrain is None or pretrain.metric == "loss",
            "refit (needs finetune.keep=last and together, neither pretrain nor teacher)": not self.refit
            or (not chosen and self.together and self.start_from is None),
        }
        check_settings(sound)
        self._check_model()
        self._check_pretraining()
        self._check_probe()

    @property
    def architecture(self) -> str:
        """The file in models/ that the settings belong to."""
        return name_of("models", self.model)

    @property
    def objective(self) -> str:
        """The file in objectives/ that the settings of the head belong to."""
        return name_of("objectives", self.head)

    def train(self, job: Job) -> Path:
        """The whole run; gives the artifact's folder."""
        return NetworkRun(self, job).train()

    def _check_model(self) -> None:
        reader, needs = reader_type(self.reader), find("models", self.architecture).Model.INPUT
        if needs not in reader.INPUTS:
            raise ConfigError(
                f"reader: '{self.architecture}' reads {needs}, which {reader.NAME} do not give."
            )
        context, wanted = getattr(self.model, "context", None), getattr(self.reader, "context", 0)
        if context is not None and wanted > context:
            raise ConfigError(
                f"reader.context is {wanted} and model.context {context}: a row and its task token would not "
                f"fit. Expected reader.context of at most {context}."
            )

    def _check_pretraining(self) -> None:
        objective = pretraining_of(self.architecture)
        if self.pretrain is not None and objective is None:
            raise ConfigError(f"pretrain: '{self.architecture}' has no pretraining. Expected pretrain=null.")
        if self.next_visit_weight != 1 and objective != "next_event":
            raise ConfigError(
                f"next_visit_weight: '{self.architecture}' does not predict the next visit. Expected 1."
            )
        if self.next_visit_weight != 1 and self.pretrain is None:
            raise ConfigError("next_visit_weight: it weighs pretraining, and pretrain is null. Expected 1.")

    def _check_probe(self) -> None:
        if not self.probe:
            return
        if reader_type(self.reader) is not TokenReader:
            raise ConfigError("probe: it needs a model of tokens. Expected probe=false.")
        if self.pretrain is None and self.start_from is None:
            raise ConfigError("probe: it needs a pretrained model. Pretrain, or name one with start_from.")
        if getattr(self.reader, "task_token_placement", "end") == "both":
            raise ConfigError(
                "probe: pretraining has no task token at the beginning of a row. Expected "
                "reader.task_token_placement=end."
            )


def reads_tokens(recipe: object) -> TypeGuard[NetworkRecipe]:
    """Whether a recipe is of a network that reads tokens."""
    return isinstance(recipe, NetworkRecipe) and reader_type(recipe.reader) is TokenReader


class ModelWithHead(nn.Module):
    """A model with the head of one objective; returns the loss of a batch."""

    model: Any
    head: Any

    def __init__(self, model: nn.Module, head: nn.Module):
        super().__init__()
        self.model, self.head = model, head

    def forward(self, batch: Any) -> Loss:
        """The loss of the head's objective on a batch."""
        found: Loss = self.head.loss(self.model, batch)
        return found


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning, or a probe, adds to a model."""

    tasks: tuple[str, ...]
    heads: Mapping[str, nn.Module]  # `head` or `probe`
    calibration: Mapping[str, Calibration]
    metrics: Mapping[str, Any]  # of the tuning samples


class NetworkRun:
    """One run of a recipe: what is fitted once and shared by its phases."""

    def __init__(self, recipe: NetworkRecipe, job: Job):
        self.recipe, self.job = recipe, job
        self.start = starting_point(recipe, job)
        if recipe.probe and self.start and "head" in self.start.network.heads:
            raise ConfigError(
                f"probe: {recipe.start_from} was fine-tuned. Start from one that was pretrained only "
                "(--set finetune=null)."
            )
        reader = self.start.reader.with_tasks(job.tasks) if self.start else fit_reader(job, recipe.reader)
        self.module = find("models", recipe.architecture)
        refuse = self.start is not None
        self.read = Readings(job, reader, recipe.label_limit, recipe.seed, refuse)
        self.teaching: dict[str, Any] | None = None  # for run.json
        self.seconds_per_epoch: dict[str, float] = {}  # by phase
        self.tokens_per_epoch: dict[str, int] = {}  # likewise; padding included
        torch.set_num_threads(job.threads)
        keep_freed_memory()

    def train(self) -> Path:
        """Pretraining and fine-tuning, as far as the recipe has them; then the working folder goes."""
        artifact.save(self.job.out, self.fitted(self.pretrained()))
        finished(self.job)
        return self.job.out

    def pretrained(self) -> Body:
        """The model with its pretraining head, pretrained if the recipe says so."""
        recipe = self.recipe
        body = self._new_body(TRAIN)
        if recipe.pretrain is None or body.head is None:
            return body
        data, tuning = (
            self.read.records[split].pretraining(body.model, recipe.batch_size, recipe.seed)
            for split in (TRAIN, TUNING)
        )
        module = ModelWithHead(body.model, body.head)
        self._fit(PRETRAINING, module, data, recipe.pretrain, lambda m: {"loss": mean_loss(m, tuning)})
        return body

    def fitted(self, body: Body) -> AnyArtifact:
        """The fine-tuned artifact: one network for all tasks, or one for each."""
        recipe, job = self.recipe, self.job
        objective = pretraining_of(recipe.architecture)
        train: Any = self.read.records[TRAIN]  # gone after refitting; the reader is of train alone
        self.reader = self.read.reader.after_training(objective, train)
        del train
        if recipe.finetune is None and not recipe.probe:
            return self._artifact(body.model, body.head, None, self._run(body.model, None))
        if recipe.probe:
            tuned = self.probed(body.model)
        elif recipe.together or len(job.tasks) == 1:
            tuned = self.finetune(body.model, job.tasks, FINE_TUNING)
        else:
            return self._apart(body)
        if recipe.refit:
            body, tuned = self.refitted(tuned)
        return self._artifact(body.model, body.head, tuned, self._run(body.model, tuned))

    def probed(self, model: Any) -> Tuned:
        """Regressions of every task on what `model` knows; the model stays as it is."""
        model.to(self.job.device)
        self.read.note_cut(model, self.read.labels(TRAIN))
        known = {s: known_of(model, self.asked(model, s, self.job.tasks)) for s in (TRAIN, TUNING)}
        probe, fitted = fit_probe(self.job, model.width, known)
        return Tuned(tuple(fitted.models), {"probe": probe}, fitted.calibration, fitted.tuning)

    def finetune(self, model: Any, tasks: Sequence[str], title: str) -> Tuned:
        """A head trained together with `model`, and its calibration on tuning samples."""
        self.read.note_cut(model, self.read.labels(TRAIN, tasks))
        tuning = self.asked(model, TUNING, tasks)
        module, result = self._trained_module(model, TRAIN, tasks, title, _scores_of(tuning))
        log_odds = answers_of(module.eval().model, module.head, tuning)
        samples = tuning.samples
        known = ~np.isnan(samples.labels)
        calibration = fit_calibration(
            tasks, samples.tasks[known], samples.labels[known], log_odds[known], self.job.notes
        )
        return Tuned(tuple(tasks), {"head": module.head}, calibration, result.metrics)

    def refitted(self, tuned: Tuned) -> tuple[Body, Tuned]:
        """Train again on train and tuning subjects together, for as many epochs.

        The calibration of the first training is kept: a new one would need subjects that were not trained on.
        No weights are chosen by a subject that is trained on.
        """
        train, tuning = (self.read.records.pop(split) for split in (TRAIN, TUNING))
        self.read.records[BOTH] = train.joined(tuning)  # type: ignore[arg-type]
        del train, tuning  # two at once would be a third more memory
        body = self._new_body(BOTH)
        module, _ = self._trained_module(body.model, BOTH, tuned.tasks, REFITTING, None)
        return body, replace(tuned, heads={"head": module.head})

    def _trained_module(
        self, model: Any, split: str, tasks: Sequence[str], title: str, evaluate: Evaluation | None
    ) -> tuple[ModelWithHead, FitResult]:
        """The model with a new head, trained on the subjects of `split`."""
        assert self.recipe.finetune is not None
        data = self.asked(model, split, tasks, self.mixed_answers if split == TRAIN else None)
        plain = self.asked(model, split, tasks) if self.recipe.teacher else data
        head = find("objectives", self.recipe.objective).make(model, len(tasks), self.recipe.head)
        head.start_at(base_rates(plain.samples.tasks, plain.samples.labels, len(tasks)))
        module = ModelWithHead(model, head)
        return module, self._fit(title, module, data, self.recipe.finetune, evaluate)

    def _apart(self, body: Body) -> Ensemble:
        """A copy of the body fine-tuned for each task: an ensemble in which each answers its own task."""
        models, tuned = [], []
        for task in learnable(self.job, self.recipe.label_limit, self.recipe.seed):
            torch.manual_seed(self.recipe.seed)  # no task's model depends on which others there are
            models.append(deepcopy(body.model))
            tuned.append(self.finetune(models[-1], [task], f"{FINE_TUNING} {task}"))
            models[-1].cpu()
        run = self._run(models[0], tuned[0]) | {"tuning": {one.tasks[0]: one.metrics for one in tuned}}
        own = {name: value for name, value in run.items() if name != "curves"}  # of all tasks, kept once
        members = [self._artifact(model, None, one, own) for model, one in zip(models, tuned, strict=True)]
        return Ensemble(
            name=self.recipe.architecture,
            members=tuple(members),
            weights={one.tasks[0]: np.eye(len(members))[place] for place, one in enumerate(members)},
            calibration={task: found for one in members for task, found in one.calibration.items()},
            run=run,
        )

    def _new_body(self, split: str) -> Body:
        """A new model; what it learns of its inputs before training, it learns of `split`."""
        recipe = self.recipe
        objective = pretraining_of(recipe.architecture)
        body = new_body(
            recipe.architecture,
            recipe.model,
            self.read.reader,
            self.start,
            recipe.seed,
            recipe.pretrain is not None or objective in KEPT,
            recipe.next_visit_weight,
        )
        if self.start is None and hasattr(body.model, "fit_inputs"):
            asked = self.asked(body.model, split, self.job.tasks)
            body.model.fit_inputs(*_last_states(asked))
        return body

    def asked(
        self,
        model: Any,
        split: str,
        tasks: Sequence[str],
        answers: Mapping[str, np.ndarray] | None = None,
    ) -> Asked:
        """The labelled samples of a split as batches."""
        if split == BOTH:
            parts = [self.read.labels(part, tasks) for part in (TRAIN, TUNING)]
            labels = {task: pa.concat_tables([part[task] for part in parts]) for task in tasks}
        else:
            labels = self.read.labels(split, tasks)
        records = self.read.records[split]
        return records.asked(model, tasks, labels, self.recipe.batch_size, self.recipe.seed, answers)

    @cached_property
    def mixed_answers(self) -> dict[str, np.ndarray] | None:
        """Train answers with the teacher's share in them, by task; None without a teacher."""
        teacher = self.recipe.teacher
        if teacher is None:
            return None
        labels = self.read.labels(TRAIN)
        found = teacher_probabilities(self.job, teacher, self.read.records[TRAIN], labels, self.recipe.seed)
        self.teaching = teacher_record(teacher, labels, found)
        values = {t: table["boolean_value"].to_numpy(zero_copy_only=False) for t, table in labels.items()}
        return {t: mixed(values[t].astype(np.float32), found[t], teacher.share) for t in labels}

    def _artifact(
        self, model: Any, head: nn.Module | None, tuned: Tuned | None, run: dict[str, Any]
    ) -> Artifact[Reader]:
        """A model with the heads of its tasks and of its pretraining, as far as there are any."""
        heads = dict(tuned.heads) if tuned else {}
        objective = pretraining_of(self.recipe.architecture)
        if head is not None and objective in KEPT:
            heads[KEPT[objective]] = head
        return Artifact(
            reader=self.reader,
            learned=Network(
                name=self.recipe.architecture,
                config=for_any_machine(self.recipe.model),
                model=model,
                heads=heads,
                head_config=self.recipe.head if "head" in heads else None,
            ),
            tasks=tuned.tasks if tuned else (),
            calibration=tuned.calibration if tuned else {},
            run=run,
        )

    def _run(self, model: nn.Module, tuned: Tuned | None) -> dict[str, Any]:
        """The run record."""
        parts = [model, *(tuned.heads.values() if tuned else [])]
        return run_record(self.job, self.recipe) | {
            "kernels": described(getattr(self.recipe.model, "backend", None)),
            "seen": seen_record(self.job, self.start.run if self.start else None),
            "teacher": self.teaching,
            "coverage": self.read.coverage(),
            "tuning": tuned.metrics if tuned else {},
            "tuning_of": "before refitting" if self.recipe.refit else "these weights",
            "curves": loss_curves(self.job.work),
            "parameters": sum(p.numel() for part in parts for p in part.parameters()),  # of one model
            "seconds_per_epoch": self.seconds_per_epoch,
            "tokens_per_epoch": self.tokens_per_epoch,
        }

    def _fit(
        self,
        title: str,
        module: ModelWithHead,
        data: Batches,
        config: TrainConfig,
        evaluate: Evaluation | None,
    ) -> FitResult:
        config = msgspec.structs.replace(config, seed=config.seed + self.recipe.seed)
        result = run_phase(self.job, self.recipe, title, module, data, config, evaluate)
        folder = phase_folder(self.job, title)
        self.seconds_per_epoch[title.lower()] = seconds_per_epoch(folder, data, config)
        tokens = getattr(data, "tokens", None)
        if tokens is not None:
            self.tokens_per_epoch[title.lower()] = tokens
        return result


@torch.no_grad()
def mean_loss(module: nn.Module, data: Any) -> float:
    """Mean loss over all samples of a module that returns the loss of a batch."""
    device = next(module.parameters()).device
    total, weight = 0.0, 0.0
    for _, batch in data.in_order():
        loss: Loss = module(batch.to(device))
        total, weight = total + float(loss.total), weight + float(loss.weight)
    return total / max(weight, 1.0)


def base_rates(tasks: np.ndarray, labels: np.ndarray, n_tasks: int) -> Tensor:
    """Return the share of positives of each task (T,), strictly between 0 and 1."""
    known = ~np.isnan(labels)
    counts = np.bincount(tasks[known], minlength=n_tasks)
    positives = np.bincount(tasks[known], labels[known], minlength=n_tasks) + 0.5
    return torch.from_numpy(positives / (counts + 1))


def _scores_of(tuning: Asked) -> Evaluation:
    """How good the answers to the tuning labels are."""
    samples = tuning.samples
    return lambda module: mean_scores(
        samples.tasks, samples.labels, answers_of(_plain(module).model, _plain(module).head, tuning)
    )


def _plain(module: nn.Module) -> Any:
    """The module itself, without a wrapper such as DistributedDataParallel."""
    return getattr(module, "module", module)


def _last_states(asked: Any) -> tuple[Tensor, Tensor]:
    """The carried state at the end of each stay (n, V, C), and its labels (n, T)."""
    parts = []
    for _, batch in asked.in_order():
        last = batch.carried[torch.arange(len(batch.steps)), batch.steps - 1]
        parts.append((last, batch.labels))
    carried, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    return carried, labels
