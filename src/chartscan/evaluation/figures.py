"""Figures as plain Plotly descriptions: small, without script, in colours for colour-blind readers too.

Names given by users are escaped, because Plotly reads some markup in text.
"""

import textwrap
from html import escape
from typing import Any

from chartscan.evaluation.result import Estimate, Evaluation, ModelResult, TaskResult
from chartscan.evaluation.sections import TrainingCurve
from chartscan.evaluation.text import few_text

Figure = dict[str, Any]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito 2008
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
CEILING = "#444444"
REFERENCE = {"color": "#9aa5b1", "width": 1, "dash": "dot"}
FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": "#1f2933"}
MOST_STEPS = 200
TICK_WIDTH = 26  # letters of a line


def task_figures(task: TaskResult) -> dict[str, Figure]:
    """The four figures of a task by name; none where it has one class only."""
    if not task.models[0].roc.x:
        return {}
    return {
        "roc": _roc(task),
        "precision_recall": _precision_recall(task),
        "calibration": _calibration(task),
        "decision": _decision(task),
    }


def forest(evaluation: Evaluation, titles: dict[str, str]) -> Figure:
    """Draw the AUROC of every model with its interval, one block per task."""
    names = model_names(evaluation)
    spacing = 0.7 / max(len(names) + 1, 2)
    traces = [_forest_trace(evaluation, name, k, k * spacing) for k, name in enumerate(names)]
    if any(task.ceiling for task in evaluation.tasks):
        traces.append(_forest_trace(evaluation, None, len(names), len(names) * spacing))
    middle = spacing * len(names) / 2
    layout = axis_layout("AUROC", "", x_range=None)
    layout["yaxis"] |= {
        "tickvals": [k + middle for k in range(len(evaluation.tasks))],
        "ticktext": [_tick(titles[task.task], task.few) for task in evaluation.tasks],
        "range": [len(evaluation.tasks) - 1 + 2 * middle + 0.4, -0.4],
        "showgrid": False,
        "automargin": True,
    }
    layout["shapes"] = [_line(0.5, 0, 0.5, 1, yref="paper")]
    layout["height"] = 130 + len(evaluation.tasks) * (26 + 16 * len(traces))
    layout["legend"] = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    return {"data": traces, "layout": layout}


def _tick(title: str, few: str | None) -> str:
    """The label of a task beside an axis, in lines of about TICK_WIDTH; few events stand below it."""
    lines = [*textwrap.wrap(title, TICK_WIDTH), *([few_text(few).strip()] if few else [])]
    return "<br>".join(map(escape, lines))


def training(curves: list[TrainingCurve]) -> Figure:
    """Losses over steps."""
    traces = []
    for k, curve in enumerate(curves):
        every = max(1, -(-len(curve.steps) // MOST_STEPS))
        last = [-1] if (len(curve.steps) - 1) % every else []
        kept = [*range(0, len(curve.steps), every), *last]
        x, y = [curve.steps[i] for i in kept], [round(curve.losses[i], 5) for i in kept]
        traces.append(_trace(curve.name, k, x, y))
    return {"data": traces, "layout": axis_layout("step", "loss", x_range=None, y_range=None)}


def model_names(evaluation: Evaluation) -> list[str]:
    """Every model once, in order of appearance."""
    return list(dict.fromkeys(model.model for task in evaluation.tasks for model in task.models))


def _roc(task: TaskResult) -> Figure:
    traces = [
        _trace(_named(m, "auroc") + few_text(task.few), k, m.roc.x, m.roc.y, ceiling=m is task.ceiling)
        for k, m in _all(task)
    ]
    layout = axis_layout("1 − specificity", "sensitivity")  # noqa: RUF001
    layout["shapes"] = [_line(0, 0, 1, 1)]
    return {"data": traces, "layout": layout}


def _precision_recall(task: TaskResult) -> Figure:
    traces = []
    for k, m in _all(task):
        curve = m.precision_recall
        name = _named(m, "average_precision")
        trace = _trace(name, k, curve.x, curve.y, ceiling=m is task.ceiling)
        trace["line"]["shape"] = "vh"
        traces.append(trace)
    layout = axis_layout("sensitivity (recall)", "PPV (precision)")
    layout["shapes"] = [_line(0, task.prevalence, 1, task.prevalence)]
    layout["annotations"] = [_note("prevalence", 0.01, task.prevalence, "left", "top")]
    layout["legend"] |= {"x": 0.98, "y": 0.98, "xanchor": "right", "yanchor": "top"}
    return {"data": traces, "layout": layout}


def _calibration(task: TaskResult) -> Figure:
    traces = []
    for k, m in enumerate(task.models):
        x = [round(one.predicted, 4) for one in m.calibration]
        observed = [one.observed for one in m.calibration]
        trace = _trace(m.model, k, x, [_rounded(one.value) for one in observed])
        trace |= {"mode": "lines+markers", "error_y": whiskers(observed, k)}
        trace["marker"] = {"size": 6, "symbol": SYMBOLS[k % len(SYMBOLS)]}
        traces.append(trace)
        traces.append(_bars(m, k))
    end = _calibration_end(task)
    layout = axis_layout("predicted probability", "observed share", [0, end], [0, end])
    layout["yaxis"]["domain"] = [0.26, 1]
    layout["yaxis2"] = {**_axis("predictions", None), "domain": [0, 0.18], "type": "log", "nticks": 3}
    layout |= {"shapes": [_line(0, 0, 1, 1)], "barmode": "group", "bargap": 0.1}
    layout["xaxis"]["anchor"] = "y2"
    layout["legend"] |= {"x": 0.02, "y": 0.98, "xanchor": "left", "yanchor": "top"}
    return {"data": traces, "layout": layout}


def _calibration_end(task: TaskResult) -> float:
    """Where the axes of a calibration curve end: just above all bins, so that rare outcomes are seen."""
    bins = [one for model in task.models for one in model.calibration]
    return min(1.02, 1.1 * max(max(one.predicted, one.observed.high or 0.0) for one in bins))


def _bars(model: ModelResult, k: int) -> dict[str, Any]:
    """Predictions in each step of the probability."""
    width = 1 / len(model.histogram)
    centres = [round((i + 0.5) * width, 4) for i in range(len(model.histogram))]
    return {
        "type": "bar",
        "x": centres,
        "y": model.histogram,
        "yaxis": "y2",
        "marker": {"color": COLOURS[k % len(COLOURS)], "opacity": 0.75},
        "showlegend": False,
        "name": escape(model.model),
        "hovertemplate": "%{y} predictions<extra>%{fullData.name}</extra>",
    }


def _decision(task: TaskResult) -> Figure:
    traces = [
        _trace(m.model, k, m.decision_curve.x, m.decision_curve.y, ceiling=m is task.ceiling)
        for k, m in _all(task)
    ]
    all_acted_on = _trace("act on all", 0, task.treat_all.x, task.treat_all.y)
    all_acted_on["line"] = {"color": "#7b8794", "width": 1.5, "dash": "dot"}
    highest = max([task.prevalence, *(y for m in task.models for y in m.decision_curve.y)])
    end = task.treat_all.x[-1]
    layout = axis_layout("threshold probability", "net benefit", [0, end], [-0.15 * highest, 1.1 * highest])
    layout["shapes"] = [_line(0, 0, end, 0)]
    layout["annotations"] = [_note("act on none", end, 0)]
    layout["legend"] |= {"x": 0.98, "y": 0.98, "xanchor": "right", "yanchor": "top"}
    return {"data": [*traces, all_acted_on], "layout": layout}


def _forest_trace(evaluation: Evaluation, model: str | None, k: int, offset: float) -> dict[str, Any]:
    """The points of one model, or of the ceiling (None)."""
    found = []
    for row, task in enumerate(evaluation.tasks):
        candidates = [task.ceiling] if model is None else [m for m in task.models if m.model == model]
        found += [(row + offset, m.estimates["auroc"]) for m in candidates if m]
    points = [(y, e) for y, e in found if e.value is not None]
    colour = CEILING if model is None else COLOURS[k % len(COLOURS)]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "true risk (ceiling)" if model is None else escape(model),
        "x": [_rounded(e.value) for _, e in points],
        "y": [round(y, 3) for y, _ in points],
        "error_x": {**whiskers([e for _, e in points], 0), "color": colour, "thickness": 1.6, "width": 3},
        "marker": {
            "size": 9,
            "color": colour,
            "symbol": "line-ns-open" if model is None else SYMBOLS[k % len(SYMBOLS)],
            "line": {"width": 2 if model is None else 0, "color": colour},
        },
        "hovertemplate": "AUROC %{x:.3f}<extra>%{fullData.name}</extra>",
    }


def _trace(name: str, k: int, x: list, y: list, ceiling: bool = False) -> dict[str, Any]:
    colour = CEILING if ceiling else COLOURS[k % len(COLOURS)]
    dash = "dot" if ceiling else DASHES[k % len(DASHES)]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escape(name),
        "x": x,
        "y": y,
        "line": {"color": colour, "width": 1.6 if ceiling else 2.2, "dash": dash},
        "hovertemplate": "%{x:.3f}, %{y:.3f}<extra>%{fullData.name}</extra>",
    }


def _all(task: TaskResult) -> list[tuple[int, ModelResult]]:
    """Models and ceiling, numbered for their colours."""
    return list(enumerate([*task.models, *([task.ceiling] if task.ceiling else [])]))


def _named(model: ModelResult, metric: str) -> str:
    value = model.estimates[metric].value
    return model.model if value is None else f"{model.model}  {value:.3f}"


def whiskers(estimates: list[Estimate], k: int) -> dict[str, Any]:
    """Whiskers from value to interval, at full length on both sides."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [_rounded(_gap(e.high, e.value)) for e in estimates],
        "arrayminus": [_rounded(_gap(e.value, e.low)) for e in estimates],
        "color": COLOURS[k % len(COLOURS)],
        "thickness": 1,
        "width": 2,
    }


def _gap(upper: float | None, lower: float | None) -> float:
    return 0.0 if upper is None or lower is None else max(upper - lower, 0.0)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def axis_layout(x: str, y: str, x_range=(-0.01, 1.01), y_range=(-0.01, 1.01)) -> dict[str, Any]:
    """The layout of every figure, with the titles and ranges of its axes."""
    return {
        "xaxis": _axis(x, x_range),
        "yaxis": _axis(y, y_range),
        "font": FONT,
        "margin": {"l": 56, "r": 14, "t": 26, "b": 46},
        "height": 350,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#b4bec8", "activecolor": "#52606d"},
        "legend": {
            "x": 0.98,
            "y": 0.02,
            "xanchor": "right",
            "yanchor": "bottom",
            "bgcolor": "rgba(255,255,255,0.85)",
        },
    }


def _axis(text: str, limits) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": text, "standoff": 8},
        "gridcolor": "#e4e7eb",
        "linecolor": "#9aa5b1",
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": "#9aa5b1",
        "ticklen": 4,
    }
    return axis if limits is None else {**axis, "range": list(limits)}


def diagonal() -> dict[str, Any]:
    """The line where predictions equal outcomes."""
    return _line(0, 0, 1, 1)


def _line(x0: float, y0: float, x1: float, y1: float, yref: str = "y") -> dict[str, Any]:
    return {
        "type": "line",
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "yref": yref,
        "line": REFERENCE,
        "layer": "below",
    }


def _note(text: str, x: float, y: float, xanchor: str = "right", yanchor: str = "bottom") -> dict[str, Any]:
    return {
        "text": text,
        "x": x,
        "y": y,
        "xanchor": xanchor,
        "yanchor": yanchor,
        "showarrow": False,
        "font": {"size": 11, "color": "#616e7c"},
    }
