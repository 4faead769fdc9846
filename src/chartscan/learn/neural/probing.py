"""Linear probes: logistic regressions on what a pretrained model knows at the prediction times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from chartscan.inputs.batches import Samples
from chartscan.learn.baselines.tabular import Fitted, LabelledRows, fit_tasks
from chartscan.learn.neural.prompting import Tuned
from chartscan.learn.neural.trainee import InOrder, device_of
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
