"""Training a time-series model: variables, pretraining by masked forecasting, fine-tuning, calibration.

Every part that learns from data sees train subjects; tuning subjects choose the best weights, the calibration
and the thresholds, and where a recipe says so then teach with the others, when nothing is left to choose;
held-out subjects are not touched. Checkpoints live beside the run until it is complete.
"""

from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from chartscan import artifact
from chartscan.batch import SeriesBatch
from chartscan.errors import check_settings
from chartscan.find import find
from chartscan.inputs.batches.series import SeriesStore
from chartscan.inputs.hourly import SeriesConfig, Stay
from chartscan.kernels import described
from chartscan.learn.fitting.calibration import DIRECTIONS, fit_calibration, mean_scores
from chartscan.learn.fitting.stays import Questions, fit_variables, questions_of, stays_of
from chartscan.learn.fitting.tokens import cut_notes
from chartscan.learn.neural.epochs import Answered, Forecasts, Trainee, logits_of, mean_loss
from chartscan.learn.neural.start import for_any_machine
from chartscan.learn.neural.teacher import Teacher, mixed, teacher_probabilities, teacher_record
from chartscan.machine import keep_freed_memory
from chartscan.objectives.masked_forecast import MaskedForecast
from chartscan.prediction import summary_features
from chartscan.runs.job import Job
from chartscan.runs.record import loss_curves, run_record, seconds_per_epoch
from chartscan.runs.seen import seen_record
from chartscan.runs.work import finished, phase_folder, run_phase
from chartscan.schema import TRAIN, TUNING
from chartscan.training import Batches, Evaluation, FitResult, TrainConfig

PRETRAINING, FINE_TUNING, REFITTING = "Pretraining", "Fine-tuning", "Refitting"
BOTH = "train and tuning"


class SeriesRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides what a trained series model is; `model` is the Config of a file in models/."""

    untracked: ClassVar[str | None] = None  # why --track has nothing to follow
    model: msgspec.Struct
    series: SeriesConfig = SeriesConfig()
    head: msgspec.Struct  # the Config of the file in objectives/ that the model's HEAD names
    pretrain: TrainConfig | None = None  # None: no pretraining
    finetune: TrainConfig
    batch_size: int = 32  # stays
    label_limit: int | None = None  # train labels of a task (and a quarter as many of tuning); None: all
    seed: int = 0
    teacher: Teacher | None = None  # of whom the train answers are in part; None: taught by the labels alone
    refit: bool = False  # after calibration anew, taught by train and tuning together; not within ensembles

    def __post_init__(self) -> None:
        right = DIRECTIONS.get(self.finetune.metric) == self.finetune.direction
        chosen = self.finetune.keep == "best" or self.pretrain is not None or self.teacher is not None
        sound = {
            "batch_size": self.batch_size >= 1,
            "label_limit": self.label_limit is None or self.label_limit >= 1,
            "seed": self.seed >= 0,
            f"finetune.metric and .direction (known: {DIRECTIONS})": right,
            "pretrain.metric (known: loss)": self.pretrain is None or self.pretrain.metric == "loss",
            "refit (needs finetune.keep=last, neither pretrain nor teacher)": not (self.refit and chosen),
        }
        check_settings(sound)

    @property
    def architecture(self) -> str:
        """The file in models/ that the settings belong to."""
        return type(self.model).__module__.rpartition(".")[2]

    def train(self, job: Job) -> Path:
        """The whole run; gives the artifact's folder."""
        return SeriesRun(self, job).train()


class SeriesRun:
    """One run of a recipe: what is fitted once and shared by its phases."""

    def __init__(self, recipe: SeriesRecipe, job: Job):
        self.recipe, self.job = recipe, job
        torch.set_num_threads(job.threads)
        keep_freed_memory()
        self.variables = fit_variables(job, recipe.series)
        self.module = find("models", recipe.architecture)
        self.questions = {s: questions_of(job, s, recipe.label_limit, recipe.seed) for s in (TRAIN, TUNING)}
        self.teaching: dict[str, Any] | None = None  # for run.json
        self.stores = {split: self._store(split) for split in (TRAIN, TUNING)}
        self.seconds_per_epoch: dict[str, float] = {}

    def train(self) -> Path:
        """Pretraining and refitting where the recipe has them, fine-tuning and calibration; the artifact."""
        model = self._model(TRAIN)
        self.pretrain(model)
        head, result = self.finetune(model, TRAIN)
        trainee = Trainee(model, head)
        calibration = self.calibrate(trainee)
        return self.save(self.refitted() if self.recipe.refit else trainee, calibration, result.metrics)

    def pretrain(self, model: Any) -> None:
        """Teaches `model` to foresee the next hours' values, where the recipe says so.

        The head that tells them is not kept: fine-tuning moves the weights away from it.
        """
        config = self.recipe.pretrain
        if config is None:
            return
        trainee = Trainee(model, MaskedForecast(model.width, self.variables.n_variables))
        data, tuning = (self._forecasts(split) for split in (TRAIN, TUNING))
        self._fit(PRETRAINING, trainee, data, config, lambda _: {"loss": mean_loss(trainee, tuning)})

    def finetune(self, model: Any, split: str) -> tuple[nn.Module, FitResult]:
        """Teaches `model` with a new head to answer the tasks; whom tuning subjects teach, nobody judges."""
        head = find("objectives", self.module.Model.HEAD).make(model, len(self.job.tasks), self.recipe.head)
        trainee = Trainee(model, head)
        head.start_at(base_rates(self.questions[split].answers))
        title, evaluate = (REFITTING, None) if split == BOTH else (FINE_TUNING, self._scores_of(trainee))
        return head, self._fit(title, trainee, self._answered(split), self.recipe.finetune, evaluate)

    def refitted(self) -> Trainee:
        """The same training anew, of train and tuning subjects together, in as many epochs.

        Its answers are read by the calibration of the first: one of its own would need subjects who did not
        teach it.
        """
        everyone = [self.questions[split] for split in (TRAIN, TUNING)]
        rows = pa.concat_tables([questions.rows for questions in everyone])
        self.questions[BOTH] = Questions(rows, np.concatenate([q.answers for q in everyone]))
        self.stores.clear()  # two at once would be a third more memory
        self.stores[BOTH] = self._store(BOTH)
        model = self._model(BOTH)
        return Trainee(model, self.finetune(model, BOTH)[0])

    def calibrate(self, trainee: Trainee) -> dict[str, artifact.Calibration]:
        """How raw log odds are to be read, by task, from all tuning labels."""
        tuning = self._answered(TUNING)
        answers = self.questions[TUNING].answers[tuning.indices]
        log_odds = logits_of(trainee, tuning, *answers.shape)
        rows, tasks = np.nonzero(~np.isnan(answers))
        return fit_calibration(
            self.job.tasks, tasks, answers[rows, tasks], log_odds[rows, tasks], self.job.notes
        )

    def save(
        self,
        trainee: Trainee,
        calibration: dict[str, artifact.Calibration],
        metrics: dict[str, float],
    ) -> Path:
        """The artifact, published whole; then the working folder goes."""
        run = run_record(self.job, self.recipe) | {
            "kernels": described(getattr(self.recipe.model, "backend", None)),
            "seen": seen_record(self.job),
            "teacher": self.teaching,
            "tuning": metrics,
            "tuning_of": "before refitting" if self.recipe.refit else "these weights",
            "curves": loss_curves(self.job.work),
            "parameters": sum(p.numel() for p in trainee.parameters()),
            "seconds_per_epoch": self.seconds_per_epoch,
        }
        found = artifact.SeriesArtifact(
            name=self.recipe.architecture,
            config=for_any_machine(self.recipe.model),
            model=trainee.model,
            variables=self.variables,
            tasks=tuple(self.job.tasks),
            head=trainee.head,
            head_config=self.recipe.head,
            calibration=calibration,
            run=run,
        )
        artifact.save(self.job.out, found)
        finished(self.job)
        return self.job.out

    def _store(self, split: str) -> SeriesStore:
        parts = (TRAIN, TUNING) if split == BOTH else (split,)
        each = [stays_of(self.job, part, self.variables, self.questions[part]) for part in parts]
        found = [stay for stays in each for stay in stays]
        store = SeriesStore.build(found, self._targets(split, found), self.variables)
        if split == TRAIN:
            rows, tasks = np.nonzero(~np.isnan(self.questions[split].answers))
            cut = store.cut(self.module.Model.INPUT)[rows]
            self.job.notes.extend(cut_notes(self.job.tasks, tasks, cut))
        return store.keep_carried() if self.module.Model.INPUT == "carried" else store

    def _targets(self, split: str, stays: list[Stay]) -> np.ndarray:
        """What the split's stays are to answer (n, T): the labels, in train with the teacher's share."""
        teacher, questions = self.recipe.teacher, self.questions[split]
        if teacher is None or split != TRAIN:
            return questions.answers
        matrix = summary_features(stays, self.variables).matrix
        found = teacher_probabilities(self.job, teacher, matrix, questions, self.recipe.seed)
        self.teaching = teacher_record(self.job, teacher, questions.answers, found)
        return mixed(questions.answers, found, teacher.share)

    def _model(self, split: str) -> Any:
        """A new model; what it learns of its inputs before training, it learns of `split`."""
        torch.manual_seed(self.recipe.seed)
        sizes = self.variables.n_variables, self.variables.n_statics
        model = self.module.Model(self.recipe.model, *sizes)
        if hasattr(model, "fit_inputs"):
            model.fit_inputs(*self._inputs(split))
        return model

    def _inputs(self, split: str) -> tuple[Tensor, Tensor]:
        """The carried state at the end of each labelled stay of `split` (n, V, C), and its labels (n, T)."""
        parts, train = [], self._answered(split)
        for places, batch in train.in_order():
            assert batch.carried is not None
            assert batch.steps is not None
            last = batch.carried[torch.arange(len(batch.steps)), batch.steps - 1]
            labels = self.questions[split].answers[train.indices[places]]  # not the teacher's
            parts.append((last, torch.from_numpy(labels)))
        carried, known = (torch.cat(column) for column in zip(*parts, strict=True))
        return carried, known

    def _scores_of(self, trainee: Trainee) -> Evaluation:
        """How good the answers to the tuning labels are."""
        tuning = self._answered(TUNING)
        answers = self.questions[TUNING].answers[tuning.indices]
        return lambda _: mean_scores(answers, logits_of(trainee, tuning, *answers.shape))

    def _answered(self, split: str) -> Answered:
        store, indices = self.stores[split], self.questions[split].answered
        return Answered(store, indices, self.module.Model.INPUT, self.recipe.batch_size, self.recipe.seed)

    def _forecasts(self, split: str) -> Forecasts:
        needs = self.module.Model.INPUT
        return Forecasts(self.stores[split], needs, self.recipe.batch_size, self.recipe.seed)

    def _fit(
        self, title: str, trainee: Trainee, data: Batches, config: TrainConfig, evaluate: Evaluation | None
    ) -> FitResult:
        def loss(_: nn.Module, batch: SeriesBatch) -> tuple[Tensor, float]:
            return trainee.head.loss(trainee.model, batch)

        config = msgspec.structs.replace(config, seed=config.seed + self.recipe.seed)
        result = run_phase(self.job, self.recipe, title, trainee, data, loss, config, evaluate)
        folder = phase_folder(self.job, title)
        self.seconds_per_epoch[title.lower()] = seconds_per_epoch(folder, data, config)
        return result


def base_rates(answers: np.ndarray) -> Tensor:
    """The share of positives of each task (T,), of answers (n, T) with NaN where unknown; never 0 nor 1."""
    known = ~np.isnan(answers)
    positives = np.nansum(answers, axis=0) + 0.5
    return torch.from_numpy((positives / (known.sum(axis=0) + 1)).astype(np.float32))
