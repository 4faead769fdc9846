"""Training a tabular baseline, one model a task, on summary features of the stays that series models see."""

from pathlib import Path

import numpy as np

from chartscan import artifact
from chartscan.artifact import SummaryArtifact
from chartscan.inputs.hourly import SeriesConfig, Variables
from chartscan.learn.baselines.tabular import BaselineRecipe, LabelledRows, fit_tasks
from chartscan.learn.fitting.stays import Questions, fit_variables, questions_of, stays_of
from chartscan.prediction import summary_features
from chartscan.runs.job import Job
from chartscan.runs.record import run_record
from chartscan.runs.seen import seen_record
from chartscan.runs.work import finished
from chartscan.schema import TRAIN, TUNING
from chartscan.tabular import xgboost

# Small, slow trees on few columns each: hundreds of correlated columns, few positives. Their number comes
# from cross-validation among the train and tuning stays of PhysioNet 2012 (log/): to stop on 800 stays is
# noisier.
TREES = xgboost.Config(
    learning_rate=0.02,
    max_leaves=8,
    max_depth=0,
    min_child_weight=4.0,
    subsample=0.7,
    column_sample=0.15,
    l2=10.0,
    max_bins=128,
    trees=680,
    patience=None,
)


class SummaryRecipe(BaselineRecipe, frozen=True, kw_only=True):
    """Everything that decides what the trained baselines on summary features are."""

    series: SeriesConfig = SeriesConfig()

    def train(self, job: Job) -> Path:
        """The whole run; gives the artifact's folder."""
        return train_summary(self, job)


def train_summary(recipe: SummaryRecipe, job: Job) -> Path:
    """One model a task, stopped by and calibrated on the tuning subjects."""
    variables = fit_variables(job, recipe.series)
    asked = {split: questions_of(job, split, recipe.label_limit, recipe.seed) for split in (TRAIN, TUNING)}
    matrices = {split: summaries(job, split, variables, asked[split]) for split in asked}

    def rows_of(task: str, split: str) -> LabelledRows:
        answers = asked[split].answers[:, job.tasks.index(task)]
        known = ~np.isnan(answers)
        return matrices[split][known], answers[known] > 0.5

    fitted = fit_tasks(recipe, job, rows_of)
    run = run_record(job, recipe) | {"seen": seen_record(job), "tuning": fitted.tuning}
    found = SummaryArtifact(recipe.name, fitted.models, variables, fitted.calibration, run)
    artifact.save(job.out, found)
    finished(job)
    return job.out


def summaries(job: Job, split: str, variables: Variables, questions: Questions) -> np.ndarray:
    """Summary features (n, columns) of each row of the questions, NaN where missing."""
    found = stays_of(job, split, variables, questions)
    return summary_features(found, variables).matrix
