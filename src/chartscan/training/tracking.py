"""The records of a run as curves in TensorBoard (extra `track`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chartscan.errors import MissingExtra
from chartscan.training.record import Reporter, StepRecord


def check_installed() -> None:
    """MissingExtra without the package tensorboard."""
    _summary_writer()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as err:
        raise MissingExtra("tensorboard", "track") from err
    return SummaryWriter


@contextmanager
def tensorboard(folder: Path) -> Iterator[Reporter]:
    """A reporter that writes event files into `folder`; MissingExtra without the package tensorboard."""
    with _summary_writer()(folder) as writer:

        def report(record: StepRecord) -> None:
            curves = dict(record.metrics) if record.phase == "evaluate" else _curves(record)
            for name, value in curves.items():
                writer.add_scalar(f"{record.phase}/{name}", value, record.step)

        yield report


def _curves(record: StepRecord) -> dict[str, float]:
    curves = {"learning_rate": record.learning_rate, "tokens_per_second": record.tokens_per_second}
    return curves if record.loss is None else curves | {"loss": record.loss}
