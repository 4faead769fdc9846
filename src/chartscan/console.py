"""Progress on a terminal: a bar with rate and time left, or plain lines.

The parts of chartscan never print; they call a progress function `(done, total)` or a report function, and
the command line hands them the ones made here. Nothing shown ever holds the content of a record, and what
comes from outside (names of files, codes, tasks) cannot steer a terminal: `shown` is the one place for that.
"""

import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from chartscan.notes import Note

_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, invisible and bidirectional marks, broken characters


def shown(text: object) -> str:
    """Return `text` as one line that cannot steer a terminal: control characters become escapes (`\\x1b`)."""
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _STEERING else c for c in text)


def shown_lines(text: object) -> str:
    """Return `text` with line ends, every line but the first indented.

    An indented line cannot pass for a message of its own.
    """
    return "\n  ".join(shown(line) for line in str(text).rstrip("\n").split("\n"))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class ProgressFunction(Protocol):
    """Called with work done, total work (None: unknown), and a short text to show."""

    def __call__(self, done: int, total: int | None, words: str = "") -> None: ...


PLAIN_SECONDS = 10.0  # off a terminal, one line at most this often


class Display:
    """Shows progress as a bar (terminals only), as plain lines, or not (`quiet`)."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.console = Console(stderr=True)
        self._noted: set[Note] = set()

    def say(self, *texts: object) -> None:
        """Print results or state on standard output; a text may have several lines."""
        for line in (line for text in texts for line in str(text).split("\n")):
            if not self.quiet:
                print(shown(line), flush=True)

    def note(self, note: Note) -> None:
        """Show a note once on standard error; with `quiet`, only written files contain it."""
        if not self.quiet and note not in self._noted:
            self._noted.add(note)
            print(shown_lines(note), file=sys.stderr, flush=True)

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
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as bars:
            task = bars.add_task(shown(title), total=None, rate="")
            pace = Pace()

            def update(done: int, total: int | None, words: str = "") -> None:
                rate = shown(f"{pace.rate(done):,.0f} {unit}/s {words}")
                bars.update(task, completed=done, total=total, rate=rate)

            yield update


class Pace:
    """Work per second since the first count, so resumed work does not look fast."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def rate(self, done: int) -> float:
        """Work per second; 0 until there are two counts."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        begin, before = self._first
        return (done - before) / (now - begin) if now > begin else 0.0


class PlainProgress:
    """Progress as lines on standard error, at most one every PLAIN_SECONDS."""

    def __init__(self, title: str, unit: str):
        self.title, self.unit = title, unit
        self.last = time.monotonic()
        self.pace = Pace()

    def __call__(self, done: int, total: int | None, words: str = "") -> None:
        rate, now = self.pace.rate(done), time.monotonic()
        if now - self.last < PLAIN_SECONDS:
            return
        self.last = now
        left = f"{(total - done) / rate:,.0f} s left" if total and rate else ""
        amount = f"{done:,} of {total:,}" if total else f"{done:,}"
        parts = [amount, f"{rate:,.0f} {self.unit}/s", left, words]
        line = f"{self.title}: {', '.join(part for part in parts if part)}"
        print(shown(line), file=sys.stderr, flush=True)
