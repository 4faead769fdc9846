"""Losses over time: for the run record, and for a tracker to look at."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import msgspec

from chartscan import files
from chartscan.errors import MissingExtra

SMOOTHING = 0.98  # of the loss shown


class StepRecord(msgspec.Struct, frozen=True):
    """The run after `step` of `total_steps` steps."""

    phase: Literal["train", "evaluate"]
    step: int
    total_steps: int
    epoch: int
    loss: float | None  # smoothed over about 50 steps
    learning_rate: float
    tokens_per_second: float  # of this session
    eta_seconds: float | None  # None until a step has been timed
    metrics: dict[str, float] = {}  # of an evaluation


Reporter = Callable[[StepRecord], None]


def smoothed(before: float | None, loss: float | None, step: int) -> float | None:
    """The moving average of the loss: a plain mean over the first steps, exponential later."""
    if before is None or loss is None:
        return before if loss is None else loss
    weight = max(1 - SMOOTHING, 1 / step)
    return before + weight * (loss - before)


class Log:
    """A file of JSON lines, each with its `step`."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds one line."""
        with files.naming(self.path), self.path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")

    def cut(self, step: int) -> None:
        """Drops the rows after `step`, and everything after a line that was cut off."""
        kept = list(takewhile(lambda row: row["step"] <= step, self.rows()))
        files.write_bytes(self.path, b"".join(msgspec.json.encode(row) + b"\n" for row in kept))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows up to the first damaged one."""
        lines = files.read_bytes(self.path).split(b"\n")[:-1] if self.path.exists() else []
        for line in lines:
            try:
                yield msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError:
                return

    def sync(self) -> None:
        """Forces what was added to disk."""
        if self.path.exists():
            files.sync(self.path)


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
