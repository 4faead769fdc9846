"""Prompted fine-tuning, and probes of a frozen body."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from chartscan.artifact import Calibration, EnsembleArtifact, SequenceArtifact
from chartscan.errors import DataError
from chartscan.inputs.batches import Samples, samples_of
from chartscan.learn.baselines.tabular import Fitted, LabelledRows, fit_tasks
from chartscan.learn.fitting.calibration import limited
from chartscan.learn.neural.epochs import InOrder, device_of
from chartscan.objectives.probe import Probe, known
from chartscan.objectives.prompted import Prompted
from chartscan.runs.job import Job
from chartscan.schema import TRAIN, TUNING
from chartscan.tabular import logistic

# Fine-tuning by prompts: which samples are asked, the head that answers, and models of a task each.


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning adds to a model."""

    tasks: tuple[str, ...]
    head: Prompted | Probe
    calibration: Mapping[str, Calibration]
    metrics: dict[str, Any]  # of the tuning samples


def samples_of_split(job: Job, split: str, tasks: list[str], limit: int | None, seed: int) -> Samples:
    """The labels of `tasks` for the subjects of a split, at most `limit` a task; DataError without any."""
    tables = {t: limited(job.labels_of(t, split), t, split, limit, seed) for t in tasks}
    samples = samples_of(tables, tasks)
    if not len(samples.labels):
        raise DataError(f"No labels for subjects of the {split} split. Label the dataset that is trained on.")
    return samples


def learnable(job: Job, limit: int | None, seed: int) -> list[str]:
    """The tasks that can have a model of their own: train labels of both classes, and tuning labels.

    The others are told and left out; DataError where those are all.
    """
    found = []
    for task in job.tasks:
        train, tuning = (
            limited(job.labels_of(task, split), task, split, limit, seed)["boolean_value"].to_pylist()
            for split in (TRAIN, TUNING)
        )
        if len(set(train)) == 2 and tuning:
            found.append(task)
        else:
            why = "No tuning labels" if len(set(train)) == 2 else "The train labels are all of one class"
            job.notes.add("left_out", f"{why}. Not learned.", task)
    if not found:
        raise DataError("No task has train labels of both classes and tuning labels. Label more subjects.")
    return found


def head_of(width: int, tasks: list[str], dropout: float, train: Samples) -> Prompted:
    """A new head that starts each task at the log odds of its train labels."""
    head = Prompted(width, len(tasks), dropout)
    with torch.no_grad():
        for task in range(len(tasks)):
            answers = train.labels[train.tasks == task]
            positives = float(answers.sum()) + 0.5
            head.task_bias[task] = float(np.log(positives / (len(answers) + 1 - positives)))
    return head


def one_a_task(name: str, models: Sequence[SequenceArtifact], run: Mapping[str, Any]) -> EnsembleArtifact:
    """Models of a task each as one artifact: an ensemble in which each alone answers its own task."""
    return EnsembleArtifact(
        name=name,
        members=tuple(models),
        weights={one.tasks[0]: np.eye(len(models))[place] for place, one in enumerate(models)},
        calibration={task: found for one in models for task, found in one.calibration.items()},
        run=run,
    )


# Linear probes: logistic regressions on what a pretrained model knows at the prediction times.

SETTINGS = logistic.Config(scaling="standard")


@dataclass(frozen=True)
class Regression:
    """What `fit_tasks` asks of a recipe."""

    name: str = "logistic"
    model: logistic.Config = SETTINGS
    seed: int = 0


@dataclass(frozen=True)
class Known:
    """Samples, and what a model knows of each when it is asked."""

    samples: Samples
    states: np.ndarray  # (S, 2 D)

    def of_task(self, task: int) -> LabelledRows:
        """States and answers of the samples of one task."""
        rows = self.samples.tasks == task
        return self.states[rows], self.samples.labels[rows] > 0.5


@torch.no_grad()
def known_of(model: Any, data: InOrder, samples: Samples) -> Known:
    """What `model` knows of every sample; `data` asks them."""
    model.eval()
    found = np.zeros((len(samples.tasks), 2 * model.width))
    for which, batch in data.in_order():
        found[which] = known(model, batch.to(device_of(model))).double().cpu().numpy()
    return Known(samples, found)


def fit_probe(job: Job, width: int, known: Mapping[str, Known]) -> Tuned:
    """A regression a task on what is known of train samples; penalty and calibration by tuning ones.

    A task whose train labels are of one class is told and left out; DataError where that is every task.
    """
    fitted = fit_tasks(Regression(), job, lambda task, split: known[split].of_task(job.tasks.index(task)))
    tasks = tuple(fitted.models)
    return Tuned(tasks, _joined(width, fitted), fitted.calibration, fitted.tuning)


def _joined(width: int, fitted: Fitted) -> Probe:
    """The regressions as one head; they centre and scale what they read, its weights do all of it at once."""
    probe = Probe(width, len(fitted.models))
    with torch.no_grad():
        for index, found in enumerate(fitted.models.values()):
            weights = found.weights / found.columns.scale
            probe.weight[index] = torch.from_numpy(weights)
            probe.bias[index] = float(found.intercept - weights @ found.columns.centre)
    return probe
