"""Tables with a column a task: the numbers of every row, what they cost, and the tests, as Markdown."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from chartscan.evaluation.text import NOTHING, interval_text, number_text, signed_text
from chartscan_lab.study._contest import Contest
from chartscan_lab.study._score import RowScore
from chartscan_lab.study._table import FINE_TUNING, spread_text
from chartscan_lab.tables import markdown_table

ALPHA = 0.05
TITLES = {"auroc": "AUROC", "average_precision": "Average precision"}
PRETRAINING = "pretraining"
COSTS = ("pretraining, s per epoch", "fine-tuning, s per epoch", "parameters")
CEILING = "best possible"

DIGITS = 3

Cell = Callable[[str, RowScore, str], str]  # of a task, a row's numbers on it, and a metric


class TaskScores(msgspec.Struct, frozen=True):
    """One task: what every row with answers is worth, and the best that is possible where that is known."""

    task: str
    rows: list[RowScore]
    ceiling: RowScore | None

    def named(self, name: str) -> RowScore | None:
        """The row of that name, or the ceiling; None where it has no answers to this task."""
        if name == CEILING:
            return self.ceiling
        return next((row for row in self.rows if row.name == name), None)


class Scores(NamedTuple):
    """Everything that tables are made of."""

    tasks: list[TaskScores]
    contests: list[Contest]

    def rows(self) -> list[RowScore]:
        """Each row once: what its cells cost, and which code made them, is the same on every task."""
        return list({row.name: row for task in self.tasks for row in task.rows}.values())

    def named(self, name: str) -> list[RowScore | None]:
        """A row on every task."""
        return [task.named(name) for task in self.tasks]

    def better(self, row: str, task: str, metric: str) -> bool:
        """Whether the row was found better than every baseline."""
        return any(
            one.p_holm is not None and one.p_holm < ALPHA
            for one in self.contests
            if (one.row, one.task, one.metric) == (row, task, metric)
        )


def metric_tables(scores: Scores, names: Sequence[str], what: str = "") -> list[str]:
    """For each metric two tables of the rows `names`: over seeds, with stars; ensembles with intervals.

    What the rows cost stands in the first.
    """
    shown = [name for name in (*names, CEILING) if any(scores.named(name))]

    def over_seeds(task: str, row: RowScore, metric: str) -> str:
        star = "*" if scores.better(row.name, task, metric) else ""
        return spread_text(row.spread[metric], DIGITS) + star

    def together(task: str, row: RowScore, metric: str) -> str:
        return interval_text(row.together[metric], DIGITS)

    parts = []
    for metric, title in TITLES.items():
        parts += [
            f"## {what}{title}, mean ± SD over seeds",
            _by_task(scores, shown, metric, over_seeds, with_costs=metric == "auroc"),
            f"## {what}{title}, ensemble of the seeds [95 %]",
            _by_task(scores, shown, metric, together),
        ]
    return parts


def contest_table(scores: Scores) -> str:
    """One line a row and task."""
    found = {(one.row, one.task, one.metric): one for one in scores.contests}
    rows = dict.fromkeys(one.row for one in scores.contests)
    headings = ["row", "task"]
    for title in TITLES.values():
        headings += [f"{title}: hardest baseline", "difference to it [95 %]", "p (corrected)"]
    lines = []
    for row in rows:
        for task in scores.tasks:
            lines.append([row, task.task])
            for metric in TITLES:
                lines[-1] += _contest(found[row, task.task, metric], scores)
    return markdown_table(headings, lines)


def _contest(one: Contest, scores: Scores) -> list[str]:
    star = "*" if scores.better(one.row, one.task, one.metric) else ""
    p = f"{number_text(one.p)} ({number_text(one.p_holm)}){star}"
    return [one.hardest, signed_text(one.difference), p if one.p is not None else NOTHING]


def _by_task(scores: Scores, names: Sequence[str], metric: str, cell: Cell, with_costs: bool = False) -> str:
    headings = ["row", *(one.task for one in scores.tasks), *(COSTS if with_costs else ())]
    lines = []
    for name in names:
        found = scores.named(name)
        costs = _costs(next(one for one in found if one)) if with_costs else []
        pairs = zip(scores.tasks, found, strict=True)
        numbers = [NOTHING if row is None else cell(task.task, row, metric) for task, row in pairs]
        lines.append([name, *numbers, *costs])
    return markdown_table(headings, lines)


def _costs(row: RowScore) -> list[str]:
    """Seconds of an epoch of all tasks, or of the whole training where there are no epochs."""
    tuned = [s for phase, s in row.seconds_per_epoch.items() if phase.startswith(FINE_TUNING)]
    pretrained = row.seconds_per_epoch.get(PRETRAINING)
    no_epochs = row.training_seconds is not None and pretrained is None
    whole = f"{row.training_seconds:,.1f} in all" if no_epochs else NOTHING
    return [
        NOTHING if pretrained is None else f"{pretrained:,.1f}",
        f"{sum(tuned):,.1f}" if tuned else whole,
        NOTHING if row.parameters is None else f"{row.parameters:,}",
    ]
