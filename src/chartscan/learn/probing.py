"""Linear probes: logistic regressions on what a pretrained model knows at the prediction times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from chartscan.learn.trees import Fitted, LabelledRows, fit_tasks
from chartscan.objectives.probe import Probe, known
from chartscan.runs.job import Job
from chartscan.tabular import logistic

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

    tasks: np.ndarray  # (S,)
    labels: np.ndarray  # (S,)
    states: np.ndarray  # (S, 2 D)

    def of_task(self, task: int) -> LabelledRows:
        """States and answers of the samples of one task."""
        rows = self.tasks == task
        return self.states[rows], self.labels[rows] > 0.5


@torch.no_grad()
def known_of(model: Any, asked: Any) -> Known:
    """What `model` knows of every sample that is asked."""
    model.eval()
    device = next(model.parameters()).device
    found = np.zeros((len(asked.samples.tasks), 2 * model.width))
    for places, batch in asked.in_order():
        found[places] = known(model, batch.to(device)).double().cpu().numpy()
    return Known(asked.samples.tasks, asked.samples.labels, found)


def fit_probe(job: Job, width: int, known: Mapping[str, Known]) -> tuple[Probe, Fitted]:
    """A regression for each task, fitted on train and calibrated on tuning samples.

    A task whose train labels are of one class is noted and left out; DataError where that is every task.
    """
    fitted = fit_tasks(Regression(), job, lambda task, split: known[split].of_task(job.tasks.index(task)))
    return _joined(width, fitted), fitted


def _joined(width: int, fitted: Fitted) -> Probe:
    """The regressions as one head; they centre and scale what they read, its weights do all of it at once."""
    probe = Probe(width, len(fitted.models))
    with torch.no_grad():
        for index, found in enumerate(fitted.models.values()):
            weights = found.weights / found.columns.scale
            probe.weight[index] = torch.from_numpy(weights)
            probe.bias[index] = float(found.intercept - weights @ found.columns.centre)
    return probe
