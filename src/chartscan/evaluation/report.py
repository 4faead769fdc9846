"""The report: one HTML file that stands alone and makes no network request, and metrics.json.

Everything that came from outside (names, reasons, codes) is escaped by the template; figures are JSON.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import msgspec
from markupsafe import Markup

from chartscan import files
from chartscan.errors import DataError
from chartscan.evaluation import figures, text
from chartscan.evaluation.groups import FEWEST_EVENTS as FEWEST_IN_GROUP
from chartscan.evaluation.limitations import limitations, title
from chartscan.evaluation.result import FEW_EVENTS, Difference, Evaluation, Group, TaskResult
from chartscan.evaluation.sections import ReportSections, coverage_tables, dataset_words, origins
from chartscan.notes import Note

MOST_NAMED = 20  # files
METRICS_FILE = "metrics.json"
TEMPLATES = Path(__file__).parent / "template"
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


VERDICTS = ("better", "worse", "unclear", "not estimable")


class CohortRow(NamedTuple):
    """One line of the cohort table."""

    words: str
    is_reason: bool
    counts: list[int | None]  # by task


def write_report(evaluation: Evaluation, out: Path, *, sections: ReportSections | None = None) -> Path:
    """Writes `out`/metrics.json and `out`/report.html; returns the path of the latter.

    Both are made before either is touched, and each replaces its older version whole. metrics.json holds the
    digests of both. Other files of the folder stay as they are.
    """
    html = report_html(evaluation, sections or ReportSections()).encode()
    metrics = evaluation.json()
    files.write_report(out / METRICS_FILE, metrics, {"report.html": html})
    return out / "report.html"


def read_metrics(out: Path) -> Evaluation:
    """What `write_report` found, from metrics.json in the folder `out`.

    DataError naming the file where it, or the report beside it, is not as it was written.
    """
    content = files.read_report(out / METRICS_FILE, "Evaluate again.")
    try:
        return msgspec.convert(content, Evaluation)
    except msgspec.ValidationError as err:
        raise DataError(f"{out / METRICS_FILE}: not of this version of chartscan. Evaluate again.") from err


def report_html(evaluation: Evaluation, sections: ReportSections) -> str:
    """The whole report as text."""
    titles = {task.task: title(sections, task.task) for task in evaluation.tasks}
    found = list(origins(evaluation))
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
            notes=_warnings_first([*sections.notes, *evaluation.notes]),
            origins=found,
            trained_on=dataset_words(found),
            coverage=coverage_tables(evaluation),
            figures=_figures(evaluation, sections, titles),
            metric_names={one.name: one.title for one in evaluation.metrics},
            columns=[one.name for one in evaluation.metrics if one.shown],
            best_values=[
                one for one in evaluation.metrics if one.shown and not isinstance(one.direction, str)
            ],
            figure_names=FIGURES,
            fewest=FEW_EVENTS,
            plotly=Markup(plotly()),
        )
    )


def reading(evaluation: Evaluation) -> list[str]:
    """What the differences in AUROC say, one sentence for each baseline."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for task in evaluation.tasks:
        for one in task.differences:
            if one.metric == "auroc":
                by = counts.setdefault((one.model, one.baseline), dict.fromkeys(VERDICTS, 0))
                by[verdict(one)] += 1
    few = sum(task.few is not None for task in evaluation.tasks)
    return [_sentence(*names, by) + _few_sentence(few) for names, by in counts.items()]


def _sentence(model: str, baseline: str, by: Mapping[str, int]) -> str:
    text = (
        f"By AUROC, {model} is better than {baseline} on {by['better']} of {sum(by.values())} tasks, "
        f"worse on {by['worse']}, and the 95 % interval of the difference includes 0 on {by['unclear']}."
    )
    missing = by["not estimable"]
    return text + (f" On {missing} the difference is not estimable." if missing else "")


def _few_sentence(few: int) -> str:
    return f" {few} of the tasks have fewer than {FEW_EVENTS} events or non-events." if few else ""


def _warnings_first(notes: Iterable[Note]) -> list[Note]:
    return sorted(dict.fromkeys(notes), key=lambda note: not note.warning)


class NoteGroup(NamedTuple):
    """The notes on one task, or on all."""

    where: str
    warning: bool
    texts: list[str]


def by_place(notes: Iterable[Note]) -> list[NoteGroup]:
    """Return notes by task, warnings apart from remarks, in their order."""
    found: dict[tuple[str, bool], list[str]] = {}
    for note in notes:
        found.setdefault((note.where, note.warning), []).append(note.text)
    return [NoteGroup(where, warning, texts) for (where, warning), texts in found.items()]


def verdict(difference: Difference) -> str:
    """Return "better", "worse", "unclear" or "not estimable" for a difference."""
    if difference.not_estimable:
        return "not estimable"
    low, high = difference.estimate.low, difference.estimate.high
    if low is None or high is None or low <= 0 <= high:
        return "unclear"
    return "better" if (low > 0) == (difference.direction == "max") else "worse"


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted name, value)."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def cohort_rows(tasks: list[TaskResult]) -> list[CohortRow]:
    """Return the cohort counts of all tasks side by side, without settings."""
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
    """Return the accounting summed over files, one row per record type, and totals."""
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


class FileRow(NamedTuple):
    """Files that were read, set aside or refused for one reason."""

    how: str  # read, set aside or refused
    reason: str
    files: int
    bytes: int
    names: str  # of files that were not read, as far as they fit


def file_rows(listed: Iterable[Mapping[str, Any]]) -> list[FileRow]:
    """Return the files by outcome; those that were not read are named."""
    fates: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for file in listed:
        fates.setdefault((str(file["how"]), str(file.get("reason") or "")), []).append(file)
    return [
        FileRow(how, reason, len(some), sum(int(file.get("bytes") or 0) for file in some), _names(how, some))
        for (how, reason), some in sorted(fates.items())
    ]


def _names(how: str, files: list[Mapping[str, Any]]) -> str:
    if how == "read":
        return ""
    more = f" and {len(files) - MOST_NAMED:,} more" if len(files) > MOST_NAMED else ""
    return ", ".join(str(file["name"]) for file in files[:MOST_NAMED]) + more


def why_hidden(group: Group) -> str:
    """Why a subgroup has no estimates."""
    return {
        "suppressed": "hidden: too few",
        "insufficient": f"fewer than {FEWEST_IN_GROUP} events or non-events",
        "not estimable": "one class only",
    }[group.status]


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
        "file_rows": file_rows,
        "why_hidden": why_hidden,
        "by_place": by_place,
        "differences": _differences,
        "verdict": verdict,
    }
    return environment


@functools.cache
def plotly() -> str:
    """The source of Plotly."""
    from plotly.offline import get_plotlyjs  # here, because it takes a second that only reports need

    return get_plotlyjs()
