"""The report: one HTML file that needs nothing beside it and asks the network for nothing, and metrics.json.

Everything that came from outside (names, reasons, codes) is escaped by the template; figures are JSON.
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from chartscan import files
from chartscan.evaluation import figures, text
from chartscan.evaluation.limitations import limitations, title
from chartscan.evaluation.result import Difference, Evaluation, TaskResult
from chartscan.evaluation.sections import ReportSections

TEMPLATES = Path(__file__).parent / "template"
METRICS = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "f1": "F1",
    "brier": "Brier",
    "observed_expected": "O : E",
    "calibration_in_the_large": "Calibration in the large",
    "calibration_slope": "Calibration slope",
    "expected_calibration_error": "ECE",
}
FIGURES = {
    "roc": ("ROC curve", "Sensitivity against false alarms. Numbers beside the names are AUROCs."),
    "precision_recall": (
        "Precision-recall curve",
        "Numbers are average precisions; chance is the dotted prevalence.",
    ),
    "calibration": (
        "Calibration",
        "Equal-sized bins with 95 % intervals; on the diagonal risks are right. Below: how many predictions.",
    ),
    "decision": (
        "Decision curve",
        "Net benefit of acting above each threshold; useful where it is the highest line.",
    ),
}


class CohortRow(NamedTuple):
    """One line of the cohort table."""

    words: str
    is_reason: bool
    counts: list[int | None]  # by task


def write_report(evaluation: Evaluation, out: Path, *, sections: ReportSections | None = None) -> Path:
    """Writes `out`/metrics.json and `out`/report.html; returns the path of the latter.

    Both are made before either is touched, and each replaces its older version whole. Other files of the
    folder stay as they are.
    """
    html = report_html(evaluation, sections or ReportSections()).encode()
    metrics = evaluation.json()
    out.mkdir(parents=True, exist_ok=True)
    files.write_bytes(out / "report.html", html)
    files.write_bytes(out / "metrics.json", metrics)
    return out / "report.html"


def report_html(evaluation: Evaluation, sections: ReportSections) -> str:
    """The whole report as text."""
    titles = {task.task: title(sections, task.task) for task in evaluation.tasks}
    return (
        environment()
        .get_template("report.html")
        .render(
            evaluation=evaluation,
            sections=sections,
            titles=titles,
            models=figures.model_names(evaluation),
            reading=reading(evaluation),
            limitations=limitations(evaluation, sections),
            figures=_figures(evaluation, sections, titles),
            metric_names=METRICS,
            figure_names=FIGURES,
            plotly=Markup(plotly()),
        )
    )


def reading(evaluation: Evaluation) -> list[str]:
    """What the differences in AUROC say, one sentence for each baseline."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for task in evaluation.tasks:
        for one in task.differences:
            if one.metric == "auroc":
                by = counts.setdefault((one.model, one.baseline), {"better": 0, "worse": 0, "unclear": 0})
                by[verdict(one)] += 1
    return [
        f"By AUROC, {model} is better than {baseline} on {by['better']} of {sum(by.values())} tasks, "
        f"worse on {by['worse']}, and the 95 % interval of the difference includes 0 on {by['unclear']}."
        for (model, baseline), by in counts.items()
    ]


def verdict(difference: Difference) -> str:
    """Whether the interval of a difference lies on one side of 0; a smaller Brier score is the better one."""
    low, high = difference.estimate.low, difference.estimate.high
    if low is None or high is None or low <= 0 <= high:
        return "unclear"
    return "better" if (low > 0) != (difference.metric == "brier") else "worse"


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted name, value)."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def cohort_rows(tasks: list[TaskResult]) -> list[CohortRow]:
    """Cohort counts of all tasks beside each other; what is no count (settings) is left for elsewhere."""
    columns = [_counts(task.cohort or {}) for task in tasks]
    names = list(dict.fromkeys(name for column in columns for name in column))
    groups = list(dict.fromkeys(group for group, _ in names))
    ordered = [name for group in groups for name in names if name[0] == group]
    return [
        CohortRow(reason or group, reason is not None, [column.get((group, reason)) for column in columns])
        for group, reason in ordered
    ]


def _counts(cohort: Mapping[str, Any]) -> dict[tuple[str, str | None], int]:
    """Counts by (name, reason); the reason of a total is None."""
    found: dict[tuple[str, str | None], int] = {}
    for name, value in cohort.items():
        words = name.replace("_", " ")
        if isinstance(value, int):
            found[words, None] = value
        elif isinstance(value, Mapping) and all(isinstance(n, int) for n in value.values()):
            found[words, None] = sum(value.values())
            found |= {(words, reason): n for reason, n in value.items()}
    return found


def accounting_rows(accounting: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The accounting identity summed over files, one row a record type, and a total if there are several."""
    by_type: dict[str, dict[str, Any]] = {}
    lines = accounting.get("lines", [])
    for line in lines:
        for name in (line["type"], "all types"):
            row = by_type.setdefault(name, dict.fromkeys(COUNTED, 0) | {"filtered": {}, "quarantined": {}})
            for column in COUNTED:
                row[column] += line[column]
            for column in REASONED:
                for reason, n in line[column].items():
                    row[column] = row[column] | {reason: row[column].get(reason, 0) + n}
    total = by_type.pop("all types", None)
    rows = [{"type": name, **row} for name, row in sorted(by_type.items())]
    return [*rows, {"type": "all types", **total}] if total and len(rows) > 1 else rows


COUNTED = ("lines_in", "accepted", "merged_duplicates")
REASONED = ("filtered", "quarantined")


def _figures(evaluation: Evaluation, sections: ReportSections, titles: dict[str, str]) -> dict[str, Any]:
    found = {"forest": figures.forest(evaluation, titles)}
    for k, task in enumerate(evaluation.tasks):
        found |= {f"{name}-{k}": figure for name, figure in figures.task_figures(task).items()}
    if sections.training:
        found["training"] = figures.training(sections.training)
    return found


def _differences(task: TaskResult, metric: str) -> list[Difference]:
    return [one for one in task.differences if one.metric == metric]


def environment() -> jinja2.Environment:
    """The templates and what they format with."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "interval": text.interval_text,
        "bounds": text.bounds_text,
        "number": text.number_text,
        "signed": text.signed_text,
        "share": text.share_text,
        "flat": flat,
        "cohort_rows": cohort_rows,
        "accounting_rows": accounting_rows,
        "differences": _differences,
        "verdict": verdict,
    }
    return environment


@functools.cache
def plotly() -> str:
    """The source of Plotly."""
    from plotly.offline import get_plotlyjs  # here, because it takes a second that only reports need

    return get_plotlyjs()
