"""Weights of an ensemble's members: non-negative logistic stacking of their log odds.

Stacked generalisation (Wolpert 1992; non-negative after Breiman 1996, Machine Learning 24:49).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import minimize

from chartscan import artifact
from chartscan.artifact import Ensemble
from chartscan.errors import DataError, check_settings
from chartscan.learn.calibration import enough, fit_calibration, scores
from chartscan.learn.members import Member, Training, job_of, pooled_labels, trained, trainings
from chartscan.prediction import log_odds
from chartscan.runs.job import Job
from chartscan.runs.record import run_record
from chartscan.runs.seen import seen_record
from chartscan.runs.work import finished
from chartscan.schema import TUNING

__all__ = ["EnsembleRecipe", "Member"]

RIDGE = 1e-6  # on the mean log loss: members that say the same share their weight evenly


@dataclass(frozen=True)
class Blend:
    """Log odds = intercept + members' log odds @ weights."""

    weights: NDArray[np.float64]  # (M,), none negative
    intercept: float = 0.0

    def log_odds(self, members: NDArray[np.float64]) -> NDArray[np.float64]:
        """Blended log odds (n,) of the members' (n, M)."""
        return self.intercept + members @ self.weights


def equal(members: int) -> Blend:
    """The mean of the members' log odds."""
    return Blend(np.full(members, 1 / members))


def stacked(log_odds: NDArray[np.float64], labels: NDArray[np.bool_]) -> Blend:
    """The blend of least log loss on out-of-fold rows (n, M).

    Where every weight would be 0 (no member predicts these rows), all weights are equal.
    """
    members = log_odds.shape[1]
    start = np.append(equal(members).weights, 0.0)
    bounds = [(0.0, None)] * members + [(None, None)]
    found = minimize(
        _loss,
        start,
        (log_odds, labels.astype(np.float64)),
        method="L-BFGS-B",
        jac=True,
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10_000},
    )
    weights = np.asarray(found.x[:-1], np.float64)
    return Blend(weights, float(found.x[-1])) if weights.any() else equal(members)


def _loss(
    x: NDArray[np.float64], log_odds: NDArray[np.float64], labels: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Mean log loss with the ridge, and its gradient, of weights and intercept `x` (M + 1,)."""
    weights = x[:-1]
    z = log_odds @ weights + x[-1]
    residual = np.exp(-np.logaddexp(0.0, -z)) - labels
    loss = np.mean(np.logaddexp(0.0, z) - labels * z) + RIDGE * weights @ weights
    gradient = np.append(log_odds.T @ residual / len(labels) + 2 * RIDGE * weights, residual.mean())
    return float(loss), gradient


# Ensembles: with `folds`, train and tuning subjects are pooled and cut. Each member is trained on all folds
# but one and tuned on that one, so every subject has out-of-fold log odds. Without folds, members are trained
# on train, and tuning decides the weights. Held-out subjects are not used.


class EnsembleRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides what a trained ensemble is."""

    untracked: ClassVar[str | None] = "it trains several models"  # why --track has nothing to follow
    members: tuple[Member, ...]
    folds: int | None = None  # of the pooled subjects of train and tuning; None: the splits as they are
    weights: Literal["equal", "stacked"] = "stacked"  # stacked: not negative, of least log loss
    label_limit: int | None = None  # train labels of a task (and a quarter as many of tuning); None: all
    seed: int = 0  # ensembles of different seeds have no member and no cut in common

    def __post_init__(self) -> None:
        sound = {
            "members": len(self.members) >= 1,
            "folds": self.folds is None or self.folds >= 2,
            "label_limit": self.label_limit is None or self.label_limit >= 1,
            "seed": self.seed >= 0,
        }
        check_settings(sound)

    @property
    def name(self) -> str:
        """The members' names."""
        return " + ".join(dict.fromkeys(member.name for member in self.members))

    def train(self, job: Job) -> Path:
        """The whole run; gives the artifact's folder."""
        return train_ensemble(self, job)


@dataclass(frozen=True)
class Answers:
    """Log odds of one task's labels by each entry, the mean over its seeds."""

    labels: np.ndarray  # (n,) bool
    log_odds: np.ndarray  # (n, entries)


def train_ensemble(recipe: EnsembleRecipe, job: Job) -> Path:
    """Every member, their blend and its calibration; then the working folder goes."""
    labels = pooled_labels(job, recipe.label_limit, recipe.seed)
    wanted = trainings(job, labels, recipe.members, recipe.folds, recipe.seed)
    members, said = [], []
    for training, model in trained(job, labels, wanted):
        members.append(model)
        said.append(tuning_log_odds(model, job_of(job, labels, training)))
    tasks = _common_tasks(job, members)
    answers = {task: answers_of(task, labels[task], wanted, said) for task in tasks}
    blends = {task: blend_of(answers[task], recipe.weights) for task in tasks}
    found = Ensemble(
        name=recipe.name,
        members=tuple(members),
        weights={task: member_weights(blends[task], wanted) for task in tasks},
        intercept={task: blends[task].intercept for task in tasks},
        calibration=_calibration(job, answers, blends),
        run=_run(recipe, job, members, answers, blends),
    )
    artifact.save(job.out, found)
    finished(job)
    return job.out


def tuning_log_odds(model: artifact.AnyArtifact, job: Job) -> dict[str, np.ndarray]:
    """Raw log odds of a member for the labels of its tuning subjects, by task."""
    asked = {task: job.labels_of(task, TUNING) for task in model.tasks}
    asked = {task: table for task, table in asked.items() if table.num_rows}
    with job.watcher.progress("Out-of-fold predictions", "batches") as progress:
        return log_odds(model, lambda: job.tables(TUNING), asked, progress) if asked else {}


def answers_of(
    task: str, labels: pa.Table, wanted: list[Training], said: list[dict[str, np.ndarray]]
) -> Answers:
    """One task's log odds by all entries, for rows that every entry predicted."""
    ids = labels["subject_id"].to_numpy()
    entries = 1 + max(training.entry for training in wanted)
    sums, counts = np.zeros((len(ids), entries)), np.zeros((len(ids), entries), np.int64)
    for training, answers in zip(wanted, said, strict=True):
        rows = np.flatnonzero(np.isin(ids, training.division[TUNING]))
        if len(rows):
            sums[rows, training.entry] += answers[task]
            counts[rows, training.entry] += 1
    asked = counts.all(axis=1)
    values = labels["boolean_value"].to_numpy(zero_copy_only=False).astype(bool)
    return Answers(values[asked], sums[asked] / counts[asked])


def blend_of(answers: Answers, weights: Literal["equal", "stacked"]) -> Blend:
    """The weights of the entries: stacked, or equal if labels are few."""
    if weights == "equal" or not enough(answers.labels):
        return equal(answers.log_odds.shape[1])
    return stacked(answers.log_odds, answers.labels)


def member_weights(blend: Blend, wanted: list[Training]) -> np.ndarray:
    """The weight of each member (M,): its entry's, in equal parts.

    With folds each out-of-fold answer is from one fold's member; new subjects get the mean of all. The mean
    varies a little less than the answers that weights and calibration were fitted on.
    """
    entries = np.array([training.entry for training in wanted])
    return (blend.weights / np.bincount(entries))[entries]


def _common_tasks(job: Job, members: list[artifact.AnyArtifact]) -> list[str]:
    """The tasks that all members have learned; DataError where there is none."""
    tasks = [task for task in job.tasks if all(task in member.tasks for member in members)]
    for task in sorted(set(job.tasks) - set(tasks)):
        job.notes.add("left_out", "Not learned by every member of the ensemble, so not by it.", task)
    if not tasks:
        raise DataError("No task has train labels of both classes in every fold. Label more subjects.")
    return tasks


def _calibration(
    job: Job, answers: Mapping[str, Answers], blends: Mapping[str, Blend]
) -> dict[str, artifact.Calibration]:
    found: dict[str, artifact.Calibration] = {}
    for task, one in answers.items():
        rows = np.zeros(len(one.labels), np.int64)
        blended = blends[task].log_odds(one.log_odds)
        found |= fit_calibration([task], rows, one.labels.astype(float), blended, job.notes)
    return found


def _run(
    recipe: EnsembleRecipe,
    job: Job,
    members: list[artifact.AnyArtifact],
    answers: Mapping[str, Answers],
    blends: Mapping[str, Blend],
) -> dict[str, Any]:
    """The run record: the blend, and how good entries and blend are out of fold."""
    earlier = [record for member in members for record in member.run["seen"][:-1]]  # what they started from
    return run_record(job, recipe) | {
        "seen": seen_record(job, {"seen": earlier}),
        "parameters": sum(member.run.get("parameters", 0) for member in members),
        "members": [member.name for member in members],
        "blend": {
            task: {"entries": b.weights.tolist(), "intercept": b.intercept} for task, b in blends.items()
        },
        "tuning": {
            task: {
                "entries": [scores(one.labels, column) for column in one.log_odds.T],
                "blend": scores(one.labels, blends[task].log_odds(one.log_odds)),
            }
            for task, one in answers.items()
        },
    }
