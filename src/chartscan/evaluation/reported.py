"""Which metrics an evaluation reports: those of `chartscan.metrics`, of installed packages, and of the user.

A file of metrics ends with its records: `METRICS`, or `METRIC` where it has one. Records from outside are
checked here, once, on a few made-up rows. A package offers a module of
metrics under the entry point `chartscan.metrics`.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from chartscan.errors import ConfigError
from chartscan.find import find, from_entry_point, from_file, installed, names
from chartscan.metrics import Metric

KIND = "metric"
ROWS = 40  # made-up rows on which a metric from outside is tried
CLOSE = 1e-9


@functools.cache
def built_in() -> tuple[Metric, ...]:
    """Records of the package's own metrics, in the order of their columns."""
    return _in_order([metric for name in names("metrics") for metric in find("metrics", name).METRICS])


def reported(files: Sequence[Path] = ()) -> tuple[Metric, ...]:
    """Return all reported metrics in column order; `files` are the user's Python files.

    ConfigError for a file or package that holds no proper metric, or one of a name that is taken.
    """
    found = list(built_in())
    for point in installed("metrics", [metric.name for metric in found]).values():
        _add(*from_entry_point(point, KIND), found)
    for path in files:
        _add(from_file(path, KIND), str(path), found)
    return _in_order(found)


def compared(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Metrics whose differences between models are shown."""
    return tuple(metric for metric in metrics if metric.compared)


def _in_order(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    return tuple(sorted(metrics, key=lambda metric: metric.position))


def _add(module: ModuleType, place: str, found: list[Metric]) -> None:
    """Add the records of a module from outside; ConfigError that names `place` and what is wrong."""
    several = getattr(module, "METRICS", None)
    records = {f"METRICS[{k}]": one for k, one in enumerate(several or ())}
    for name, metric in (records or {"METRIC": getattr(module, "METRIC", None)}).items():
        if not isinstance(metric, Metric):
            raise ConfigError(
                f'{place}: a metric needs {name}. Write: METRIC = Metric("my_metric", "My metric", "max", '
                "my_metric), with Metric from chartscan.metrics."
            )
        if metric.name in {other.name for other in found}:
            raise ConfigError(f"{place}: there is a metric named '{metric.name}' already. Name it otherwise.")
        if wrong := _wrong(metric):
            raise ConfigError(f"{place}: {name}.{wrong}")
        found.append(metric)


def _wrong(metric: Metric) -> str:
    """What is wrong with a record; empty where nothing is."""
    if not isinstance(metric.name, str) or not metric.name.isidentifier():
        return "name: expected letters, digits and '_', such as my_metric."
    if not isinstance(metric.title, str) or not metric.title.strip():
        return "title: expected the heading of its column."
    if metric.direction not in ("max", "min") and not isinstance(metric.direction, int | float):
        return "direction: expected 'max', 'min', or the best value as a number."
    if metric.compared and metric.direction not in ("max", "min"):
        return "compared: only a metric with the direction 'max' or 'min' can say which model is better."
    if metric.reads not in ("probabilities", "decisions"):
        return "reads: expected 'probabilities' or 'decisions'."
    return _wrong_number(metric)


def _wrong_number(metric: Metric) -> str:
    """What is wrong with the numbers that a metric gives of made-up rows."""
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.01, 0.99, ROWS)
    labels = (generator.random(ROWS) < scores).astype(np.float64)
    if metric.reads == "decisions":
        scores = (scores >= 0.5).astype(np.float64)
    try:
        value = float(metric.function(labels, scores, weights=np.ones(ROWS)))
    except Exception as err:
        return f"function: failed on {ROWS} made-up rows ({type(err).__name__}: {err}). {_SIGNATURE}"
    if metric.row_sums is None:
        return ""
    try:
        columns, of_sums = metric.row_sums(labels, scores)
        summed = float(of_sums(columns.sum(axis=0)[:, None])[0])
    except Exception as err:
        return f"row_sums: failed on {ROWS} made-up rows ({type(err).__name__}: {err})."
    if not np.isclose(summed, value, rtol=CLOSE, atol=CLOSE, equal_nan=True):
        return f"row_sums: gives {summed:.6g} on {ROWS} made-up rows, where function gives {value:.6g}."
    return ""


_SIGNATURE = "Expected a number of (labels, scores, weights=None), arrays of one length."
