"""A teacher of networks: boosted trees on summary features, whose probabilities are mixed into train answers.

Each train subject is answered for by trees that other train subjects taught (cross-fitting; Dao et al. 2021,
arXiv:2104.09732): trees that had seen its answer would give it back. Tuning and held-out subjects are not
read.
"""

import io
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from chartscan import files
from chartscan.errors import check_settings
from chartscan.learn.baselines.summary import TREES
from chartscan.learn.ensembles.members import strata, stratified_folds
from chartscan.learn.fitting.calibration import scores
from chartscan.learn.fitting.stays import Questions
from chartscan.prediction import logit
from chartscan.runs.job import Job
from chartscan.tabular import xgboost

FILE = "teacher.npy"


class Teacher(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which trees teach, and how much of an answer is theirs."""

    model: xgboost.Config = TREES  # `trees` of them: there is nobody to stop them early
    folds: int = 5  # of the train subjects
    share: float = 0.5  # answer = (1 - share) * label + share * probability

    def __post_init__(self) -> None:
        sound = {"folds": self.folds >= 2, "share": 0 <= self.share <= 1}
        check_settings({f"teacher.{name}": holds for name, holds in sound.items()})


def teacher_probabilities(
    job: Job, teacher: Teacher, matrix: np.ndarray, questions: Questions, seed: int
) -> np.ndarray:
    """What the teacher says of each train label (n, T) float32; NaN where it has no say (see `untaught`).

    `matrix` (n, columns) holds the summary features of the questions' rows. What a killed run has fitted is
    read again by `--resume`.
    """
    file = job.work / FILE
    if job.resume and file.exists():
        found: np.ndarray = np.load(file, allow_pickle=False)
        return found
    fold = fold_of_rows(questions, teacher.folds, seed)
    columns: list[np.ndarray] = []
    with job.watcher.progress("Teacher", "folds") as progress:

        def report(folds: int) -> None:
            progress(len(columns) * teacher.folds + folds, len(job.tasks) * teacher.folds)

        for task, answers in zip(job.tasks, questions.answers.T, strict=True):
            columns.append(untaught(teacher, matrix, answers, fold, seed, job.threads, report))
            report(0)
            if np.isnan(columns[-1]).all():
                text = "Too few train labels for a teacher. Taught by the labels alone."
                job.notes.add("no_teacher", text, task, warning=False)
    probabilities = np.stack(columns, axis=1)
    content = io.BytesIO()
    np.save(content, probabilities, allow_pickle=False)
    files.write_bytes(file, content.getvalue())
    return probabilities


def fold_of_rows(questions: Questions, folds: int, seed: int) -> np.ndarray:
    """The fold of each row's subject (n,), folds of like answers; -1 where the subject has no answer."""
    ids = questions.rows["subject_id"].to_numpy()
    pool = np.unique(ids[questions.answered])
    labels = (_labels(ids, answers) for answers in questions.answers.T)
    found = np.full(len(ids), -1)
    for number, part in enumerate(stratified_folds(pool, strata(pool, labels), folds, seed)):
        found[np.isin(ids, part)] = number
    return found


def untaught(
    teacher: Teacher,
    matrix: np.ndarray,
    answers: np.ndarray,
    fold: np.ndarray,
    seed: int,
    threads: int,
    report: Callable[[int], None] = lambda folds: None,
) -> np.ndarray:
    """Probabilities (n,) float32 of one task's rows, each of trees taught by the answers of other folds.

    NaN where the answer is not known; all NaN where the answers outside some fold are of one class.
    """
    found = np.full(len(answers), np.nan, np.float32)
    known = ~np.isnan(answers)
    numbers = np.unique(fold[known])
    lessons = [known & (fold != number) for number in numbers]
    if any(len(np.unique(answers[lesson])) < 2 for lesson in lessons):
        return found
    for done, (number, lesson) in enumerate(zip(numbers, lessons, strict=True)):
        report(done)
        trees = xgboost.fit(
            matrix[lesson], answers[lesson] > 0.5, config=teacher.model, seed=seed, threads=threads
        )
        asked = known & (fold == number)
        found[asked] = trees.predict_proba(matrix[asked])
    return found


def mixed(answers: np.ndarray, probabilities: np.ndarray, share: float) -> np.ndarray:
    """Answers (n, T) with the teacher's `share` in them; where it has no say they stay as they are."""
    soft = (1 - share) * answers + share * probabilities
    return np.where(np.isnan(probabilities), answers, soft).astype(np.float32)


def teacher_record(
    job: Job, teacher: Teacher, answers: np.ndarray, probabilities: np.ndarray
) -> dict[str, Any]:
    """For run.json: from whom the network has learned, and how good its teacher is on subjects new to it."""
    says = ~np.isnan(probabilities)
    rows = zip(job.tasks, answers.T, probabilities.T, says.T, strict=True)
    return {
        "learned_from": "boosted trees on summary features, each train subject by trees it did not teach",
        "folds": teacher.folds,
        "share": teacher.share,
        "out_of_fold": {task: scores(y[k] > 0.5, logit(p[k])) for task, y, p, k in rows if k.any()},
    }


def _labels(ids: np.ndarray, answers: np.ndarray) -> pa.Table:
    known = ~np.isnan(answers)
    return pa.table({"subject_id": ids[known], "boolean_value": answers[known] > 0.5})
