"""What a command shows while it works: a bar with rate and time left, or plain lines off a terminal.

The parts of chartscan never print; they call a progress function `(done, total)` or a report function, and
the command line hands them the ones made here. Nothing shown ever holds the content of a record.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressFunction(Protocol):
    """Called with work done, work in all (None: not known) and a few words to show beside it."""

    def __call__(self, done: int, total: int | None, words: str = "") -> None: ...


PLAIN_SECONDS = 10.0  # off a terminal, one line at most this often


class Display:
    """Where progress goes: nowhere (`quiet`), a live bar (terminal) or plain lines (everything else)."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.console = Console(stderr=True)

    def say(self, text: str) -> None:
        """One line of result or state, on standard output."""
        if not self.quiet:
            print(text, flush=True)

    @contextmanager
    def progress(self, title: str, unit: str) -> Iterator[ProgressFunction]:
        """A progress function for one piece of work, counted in `unit`."""
        if self.quiet:
            yield lambda done, total, words="": None
        elif self.console.is_terminal:
            yield from self._bar(title, unit)
        else:
            yield PlainProgress(title, unit)

    def _bar(self, title: str, unit: str) -> Iterator[ProgressFunction]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as bars:
            task = bars.add_task(title, total=None, rate="")
            begin = time.monotonic()

            def update(done: int, total: int | None, words: str = "") -> None:
                rate = f"{rate_text(done, begin, unit)} {words}"
                bars.update(task, completed=done, total=total, rate=rate)

            yield update


class PlainProgress:
    """Progress as lines on standard error, at most one every PLAIN_SECONDS."""

    def __init__(self, title: str, unit: str):
        self.title, self.unit = title, unit
        self.begin = self.last = time.monotonic()

    def __call__(self, done: int, total: int | None, words: str = "") -> None:
        now = time.monotonic()
        if now - self.last < PLAIN_SECONDS:
            return
        self.last = now
        left = f"{(now - self.begin) * (total - done) / done:,.0f} s left" if total and done else ""
        amount = f"{done:,} of {total:,}" if total else f"{done:,}"
        parts = [amount, rate_text(done, self.begin, self.unit), left, words]
        print(f"{self.title}: {', '.join(part for part in parts if part)}", file=sys.stderr, flush=True)


def rate_text(done: int, begin: float, unit: str) -> str:
    """Work per second since `begin`, in words."""
    seconds = max(time.monotonic() - begin, 1e-9)
    return f"{done / seconds:,.0f} {unit}/s"
