"""The report on forecasts: forecasts.json, forecasts.md and one self-contained HTML with its figures."""

from html import escape
from pathlib import Path
from typing import Any

from markupsafe import Markup

from chartscan import files
from chartscan.evaluation.figures import (
    COLOURS,
    SYMBOLS,
    Figure,
    axis_layout,
    diagonal,
    whiskers,
)
from chartscan.evaluation.forecasts import FIRST, METRICS, ForecastEvaluation, ForecastScore
from chartscan.evaluation.report import environment, plotly
from chartscan.evaluation.text import interval_text, number_text, signed_text

NAMES = {
    "accuracy": "Accuracy by position",
    "overlap": "Overlap as sets",
    "cosine": "Cosine by position",
    "set_cosine": "Cosine as sets",
}


def write_forecast_report(found: ForecastEvaluation, out: Path, title: str, facts: dict[str, str]) -> Path:
    """Writes the three files into `out`, each whole; returns the path of the HTML.

    `facts` are shown as they are: model, dataset, settings.
    """
    text = markdown(found, title, facts)
    page = environment().get_template("forecast.html")
    html = page.render(
        title=title,
        facts=facts,
        found=found,
        tables=tables(found),
        figures=figures(found),
        names=NAMES,
        plotly=Markup(plotly()),
    )
    beside = {"forecasts.md": text.encode(), "forecasts.html": html.encode()}
    files.write_report(out / "forecasts.json", found.json(), beside)
    return out / "forecasts.html"


def tables(found: ForecastEvaluation) -> list[dict[str, Any]]:
    """One table a view and metric: a row a method, a column a length."""
    return [
        {
            "view": view,
            "metric": metric,
            "subjects": found.subjects[view],
            "rows": [
                {"method": method, "cells": [_of(found, view, metric, method, n) for n in FIRST]}
                for method in methods(found)
            ],
        }
        for view in found.subjects
        for metric in METRICS
    ]


def methods(found: ForecastEvaluation) -> list[str]:
    """Every method once, the model first."""
    return list(dict.fromkeys(score.method for score in found.scores))


def markdown(found: ForecastEvaluation, title: str, facts: dict[str, str]) -> str:
    """The same as text."""
    lines = [f"# {title}", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += [
        f"95 % intervals and differences (the model less the baseline): {found.replicates:,} resamples of "
        "subjects.",
        "",
    ]
    for one in tables(found):
        lines += [f"## {NAMES[one['metric']]}, {one['view']} ({one['subjects']:,} subjects)", ""]
        lines += ["| first | " + " | ".join(map(str, FIRST)) + " |", "| --- |" + " ---: |" * len(FIRST)]
        for row in one["rows"]:
            cells = [interval_text(score.estimate) for score in row["cells"]]
            lines.append(f"| {row['method']} | " + " | ".join(cells) + " |")
        for row in one["rows"][1:]:
            cells = [signed_text(score.difference.estimate) for score in row["cells"]]
            lines.append(f"| less {row['method']} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [
        "## Probability of the likeliest next token",
        "",
        f"{found.next_tokens:,} places. It came at {interval_text(found.next_accuracy)} of them; expected "
        f"calibration error {interval_text(found.calibration_error)}.",
        "",
        "| probability | came | places |",
        "| ---: | ---: | ---: |",
        *(
            f"| {number_text(b.predicted)} | {interval_text(b.observed)} | {b.predictions:,} |"
            for b in found.calibration
        ),
        "",
        f"Of {found.grammar_violations['tokens']:,} tokens that the model forecast, "
        f"{found.grammar_violations['out of order']:,} cannot follow their predecessor in any record.",
        "",
    ]
    return "\n".join(lines)


def figures(found: ForecastEvaluation) -> dict[str, Figure]:
    """A figure for each view and metric, and the calibration curve."""
    drawn = {
        f"{metric}-{k}": _lines(found, view, metric)
        for k, view in enumerate(found.subjects)
        for metric in METRICS
    }
    return drawn | {"calibration": _calibration(found)}


def _of(found: ForecastEvaluation, view: str, metric: str, method: str, first: int) -> ForecastScore:
    return next(
        s for s in found.scores if (s.view, s.metric, s.method, s.first) == (view, metric, method, first)
    )


def _lines(found: ForecastEvaluation, view: str, metric: str) -> Figure:
    traces = []
    for k, method in enumerate(methods(found)):
        estimates = [_of(found, view, metric, method, n).estimate for n in FIRST]
        traces.append(_points(method, k, [str(n) for n in FIRST], estimates))
    layout = axis_layout("first tokens", NAMES[metric].lower(), None, None)
    layout["xaxis"]["type"] = "category"
    layout["legend"] = {"orientation": "h", "x": 0, "y": -0.25, "yanchor": "top"}  # clear of the curves
    layout["margin"] |= {"b": 110}
    layout["height"] += 64
    return {"data": traces, "layout": layout}


def _calibration(found: ForecastEvaluation) -> Figure:
    bins = found.calibration
    trace = _points("model", 0, [round(b.predicted, 4) for b in bins], [b.observed for b in bins])
    layout = axis_layout("probability of the likeliest next token", "share that came", (0, 1), (0, 1))
    return {"data": [trace], "layout": layout | {"shapes": [diagonal()], "showlegend": False}}


def _points(name: str, k: int, x: list[Any], estimates: list[Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(name),
        "x": x,
        "y": [None if e.value is None else round(e.value, 5) for e in estimates],
        "error_y": whiskers(estimates, k),
        "line": {"color": COLOURS[k % len(COLOURS)], "width": 2.2},
        "marker": {"size": 7, "symbol": SYMBOLS[k % len(SYMBOLS)]},
        "hovertemplate": "%{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
    }
