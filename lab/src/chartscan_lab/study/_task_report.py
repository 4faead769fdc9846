"""The page of a study of several tasks: its tables, and what their numbers mean."""

from collections.abc import Sequence
from typing import NamedTuple

from chartscan_lab.study._cells import Place
from chartscan_lab.study._task_tables import Scores, contest_table, metric_tables
from chartscan_lab.study._trained import code_notice, provenance

CAPTION = (
    "Mean ± SD is over training seeds and says how far training wanders. The ensemble is the mean of the "
    "seeds' log odds; its 95 % interval is a bootstrap over held-out patients ({replicates} resamples) and "
    "says how far other patients would move the number. Rows 'one task' are models fine-tuned for each task "
    "by itself, from one pretrained body; rows 'prompted' are one model for all tasks; rows 'probed' are "
    "regressions on the body as it was pretrained, and train nothing else. Seconds per epoch "
    "include evaluation; those of fine-tuning are of all tasks together. Where there are no epochs it is the "
    "whole training."
)
FEW = (
    "Rows of few labels: that number of train labels for each task, a quarter for tuning, drawn by seed "
    "and the same for every row. Pretraining has seen all train subjects."
)
TESTS = (
    "A star says that the row is better than every one of the baselines ({baselines}), which is to be better "
    "than the best of them, whichever that is: p is the largest of the two-sided shares beyond 0 of paired "
    "bootstrap differences to each baseline's ensemble (at least {least:.4f} with {replicates} resamples; 1 "
    "where the row is not ahead of all), corrected by Holm over the tasks of a row and metric, not over rows "
    "and metrics; starred below 0.05. The difference shown is to the baseline of the greatest value on these "
    "patients, and its interval is not corrected."
)
WAITING = (
    "No tests yet: they wait until these rows have answers to every task by the same seeds as all others: {}."
)


class Named(NamedTuple):
    """Which rows stand in which tables."""

    full: list[str]
    few: list[str]  # of few labels, after those of all labels to read them beside


def markdown(
    title: str,
    about: str,
    scores: Scores,
    rows: Named,
    waiting: Sequence[str],
    costs: Sequence[str],
    place: Place,
) -> str:
    """The page; `waiting` are rows that lack answers, without which nothing is tested; `costs` its parts."""
    replicates = f"{place.replicates:,}"
    parts = [f"# {title}", about, *metric_tables(scores, rows.full), CAPTION.format(replicates=replicates)]
    if rows.few:
        parts += [FEW, *metric_tables(scores, rows.few, "Few labels: ")]
    if waiting:
        parts += ["## Tests", WAITING.format("; ".join(waiting))]
    elif scores.contests:
        baselines, least = "; ".join(scores.contests[0].baselines), 2 / (place.replicates + 1)
        text = TESTS.format(baselines=baselines, least=least, replicates=replicates)
        parts += ["## Tests", contest_table(scores), text]
    parts += [*costs, *code_notice(scores.rows()), _cohorts(scores), provenance(place)]
    return "\n\n".join(parts) + "\n"


def _cohorts(scores: Scores) -> str:
    """How many questions and events there are of each task."""
    parts = [
        f"{task.task} {task.rows[0].predictions:,} ({task.rows[0].events:,})"
        for task in scores.tasks
        if task.rows
    ]
    return f"Held-out stays asked about (events): {', '.join(parts)}."
