"""The result as a few lines of text, for a terminal."""

from chartscan.evaluation.result import Estimate, Evaluation, TaskResult
from chartscan.evaluation.text import few_text, interval_text, number_text, share_text

HEADINGS = ("task", "n", "events", "model", "AUROC [95 % CI]", "AP", "Brier", "of ceiling")


def text_table(evaluation: Evaluation) -> str:
    """One line for each model and task, models under study first; the best possible last."""
    lines: list[tuple[str, ...]] = [HEADINGS]
    for task in evaluation.tasks:
        lines += _task_lines(task)
    widths = [max(len(line[k]) for line in lines) for k in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def auroc_text(auroc: Estimate, task: TaskResult) -> str:
    """The AUROC with its interval, marked where it comes from few events."""
    return interval_text(auroc) + (few_text(task.few) if auroc.value is not None else "")


def _task_lines(task: TaskResult) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for k, one in enumerate([*task.models, *([task.ceiling] if task.ceiling else [])]):
        first = (task.task, f"{task.predictions:,}", f"{task.events:,}") if k == 0 else ("", "", "")
        lines.append(
            (
                *first,
                one.model,
                auroc_text(one.estimates["auroc"], task),
                number_text(one.estimates["average_precision"].value),
                number_text(one.estimates["brier"].value),
                share_text(one.share_of_ceiling),
            )
        )
    return lines
