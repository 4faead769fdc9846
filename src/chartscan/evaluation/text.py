"""Numbers and results as words, for tables, reports and terminals."""

from chartscan.evaluation.result import Estimate, Evaluation, TaskResult

NOTHING = "-"
NOT_ESTIMABLE = "not estimable"
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


def number_text(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def interval_text(estimate: Estimate | None, digits: int = 3) -> str:
    """`0.812 [0.790, 0.833]`; "not estimable" where the data cannot say."""
    if estimate is None or estimate.value is None:
        return NOT_ESTIMABLE
    return f"{number_text(estimate.value, digits)} {bounds_text(estimate, digits)}"


def bounds_text(estimate: Estimate, digits: int = 3) -> str:
    """`[0.790, 0.833]`."""
    return f"[{number_text(estimate.low, digits)}, {number_text(estimate.high, digits)}]"


def signed_text(estimate: Estimate, digits: int = 3) -> str:
    """`+0.021 [+0.004, +0.039]`."""
    if estimate.value is None:
        return NOT_ESTIMABLE
    bounds = (NOTHING if v is None else f"{v:+.{digits}f}" for v in (estimate.low, estimate.high))
    return f"{estimate.value:+.{digits}f} [{', '.join(bounds)}]"


def few_text(few: str | None) -> str:
    """What follows an AUROC from few events: ` (7 events)`; empty where there are enough."""
    return f" ({few})" if few else ""


def share_text(estimate: Estimate | None) -> str:
    """A share in percent, empty where there is none."""
    return "" if estimate is None or estimate.value is None else f"{100 * estimate.value:.0f} %"
