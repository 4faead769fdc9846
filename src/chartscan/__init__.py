"""chartscan: from patient records to a sequence model that a hospital can run itself.

`chartscan.ingest`, `label`, `train`, `predict`, `evaluate`, `explain` and `forecast` do what the commands of
these names do; `simulate` makes data to try them on, and `load` opens a trained model.
"""

from importlib.metadata import version as _version

from chartscan.api import evaluate, explain, forecast, ingest, label, load, predict, simulate, train

__version__ = _version("chartscan")

__all__ = [
    "__version__",
    "evaluate",
    "explain",
    "forecast",
    "ingest",
    "label",
    "load",
    "predict",
    "simulate",
    "train",
]
