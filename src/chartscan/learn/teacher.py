"""Distillation: probabilities of boosted trees, mixed into the labels that train a network.

The probabilities are out-of-fold: each train subject's come from trees trained on other train subjects
(cross-fitting; Dao et al. 2021, arXiv:2104.09732). Trees trained on its label would repeat the label. Tuning
and held-out subjects are not read.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from chartscan import files
from chartscan.artifact import logit
from chartscan.errors import check_settings
from chartscan.inputs.readers import Records
from chartscan.learn.calibration import scores
from chartscan.learn.members import strata, stratified_folds
from chartscan.learn.trees import SUMMARY_TREES
from chartscan.runs.job import Job
from chartscan.tabular import xgboost

FILE = "teacher.npy"


class Teacher(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The trees of the teacher, and their share of each training answer."""

    model: xgboost.Config = SUMMARY_TREES  # `trees` of them: nothing stops them early
    folds: int = 5  # of the train subjects
    share: float = 0.5  # answer = (1 - share) * label + share * probability

    def __post_init__(self) -> None:
        sound = {"folds": self.folds >= 2, "share": 0 <= self.share <= 1}
        check_settings({f"teacher.{name}": holds for name, holds in sound.items()})


def teacher_probabilities(
    job: Job, teacher: Teacher, records: Records, labels: Mapping[str, pa.Table], seed: int
) -> dict[str, np.ndarray]:
    """Out-of-fold probabilities of each train label (labels,) float32, by task; NaN where there are none.

    NaN: see `out_of_fold`. What a killed run has fitted is read again by `--resume`.
    """
    file = job.work / FILE
    ends = np.cumsum([table.num_rows for table in labels.values()])
    if job.resume and file.exists():
        columns = np.split(np.load(file, allow_pickle=False), ends[:-1])
        return dict(zip(labels, columns, strict=True))
    folds = folds_of(labels, teacher.folds, seed)
    found: dict[str, np.ndarray] = {}
    with job.watcher.progress("Teacher", "folds") as progress:

        def report(done: int) -> None:
            progress(len(found) * teacher.folds + done, len(labels) * teacher.folds)

        for task, table in labels.items():
            answers = table["boolean_value"].to_numpy(zero_copy_only=False)
            matrix = records.matrix(table)
            found[task] = out_of_fold(teacher, matrix, answers, folds[task], seed, job.threads, report)
            report(0)
            if np.isnan(found[task]).all():
                text = "Too few train labels for a teacher. Trained on the labels alone."
                job.notes.add("no_teacher", text, task, warning=False)
    content = io.BytesIO()
    np.save(content, np.concatenate(list(found.values())), allow_pickle=False)
    files.write_bytes(file, content.getvalue())
    return found


def folds_of(labels: Mapping[str, pa.Table], folds: int, seed: int) -> dict[str, np.ndarray]:
    """The fold of each label's subject (labels,) by task; folds of like answers."""
    pool = np.unique(np.concatenate([table["subject_id"].to_numpy() for table in labels.values()]))
    parts = stratified_folds(pool, strata(pool, labels.values()), folds, seed)
    fold = np.full(len(pool), -1)
    for number, part in enumerate(parts):
        fold[np.searchsorted(pool, part)] = number
    return {task: fold[np.searchsorted(pool, t["subject_id"].to_numpy())] for task, t in labels.items()}


def out_of_fold(
    teacher: Teacher,
    matrix: Any,
    answers: np.ndarray,
    fold: np.ndarray,
    seed: int,
    threads: int,
    report: Callable[[int], None] = lambda folds: None,
) -> np.ndarray:
    """Out-of-fold probabilities (n,) float32 of one task's rows.

    `matrix` (n, columns), `answers` (n,) bool. All NaN where the answers outside some fold are of one class.
    """
    found = np.full(len(answers), np.nan, np.float32)
    lessons = [fold != number for number in np.unique(fold)]
    if any(len(np.unique(answers[lesson])) < 2 for lesson in lessons):
        return found
    for done, lesson in enumerate(lessons):
        report(done)
        trees = xgboost.fit(matrix[lesson], answers[lesson], config=teacher.model, seed=seed, threads=threads)
        found[~lesson] = trees.predict_proba(matrix[~lesson])
    return found


def mixed(answers: np.ndarray, probabilities: np.ndarray, share: float) -> np.ndarray:
    """Labels mixed with the teacher's probabilities; unchanged where these are NaN."""
    soft = (1 - share) * answers + share * probabilities
    return np.where(np.isnan(probabilities), answers, soft).astype(np.float32)


def teacher_record(
    teacher: Teacher, labels: Mapping[str, pa.Table], probabilities: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The run record: what the network learned from, and the teacher's out_of_fold scores."""
    found = {}
    for task, table in labels.items():
        answers = table["boolean_value"].to_numpy(zero_copy_only=False)
        known = ~np.isnan(probabilities[task])
        if known.any():
            found[task] = scores(answers[known], logit(probabilities[task][known]))
    return {
        "learned_from": "boosted trees, out-of-fold for each train subject",
        "folds": teacher.folds,
        "share": teacher.share,
        "out_of_fold": found,
    }
