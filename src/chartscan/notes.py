"""Notes: what a user must know beside a result, on one channel.

Code that computes a warning adds it to the `Notes` that it was handed. The command line shows each note once
on standard error; the run record, the metadata of predictions and the report keep them. A note holds counts
and words of vocabularies, never the content of a record. This module knows no dataset, task or model.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

KEY = "notes"  # in the run record, and in the run settings of predictions


class Note(msgspec.Struct, frozen=True):
    """One note. `warning` is true where it can change the conclusion."""

    code: str  # the kind, lower case with underscores: few_events
    text: str  # one or two sentences: what was found, with counts, and what to do
    where: str = ""  # the task it concerns; empty: the whole dataset or run
    warning: bool = True

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{'warning' if self.warning else 'note'}: {place}{self.text}"


class Notes:
    """Collects notes, each once, in order; `show` is called with each new one."""

    def __init__(self, show: Callable[[Note], None] | None = None):
        self._show = show
        self._notes: dict[Note, None] = {}

    def add(self, code: str, text: str, where: str = "", warning: bool = True) -> None:
        """Adds a note, unless it is there already."""
        self.extend([Note(code, text, where, warning)])

    def extend(self, notes: Iterable[Note]) -> None:
        """Adds several notes."""
        for note in notes:
            if note not in self._notes:
                self._notes[note] = None
                if self._show:
                    self._show(note)

    def about(self, task: str) -> list[Note]:
        """The notes on `task`, and those on the whole dataset or run."""
        return [note for note in self._notes if note.where in ("", task)]

    def __iter__(self) -> Iterator[Note]:
        return iter(self._notes)

    def __len__(self) -> int:
        return len(self._notes)


@contextmanager
def warnings_as_notes(notes: Notes) -> Iterator[None]:
    """Within it, Python warnings of chartscan's own modules become notes; others are shown as before."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def note(message: Any, category: Any, filename: str, *place: Any, **more: Any) -> None:
            if f"{os.sep}chartscan{os.sep}" in filename:
                notes.add("run", str(message))
            else:
                shown(message, category, filename, *place, **more)

        warnings.showwarning = note
        yield


def records(notes: Iterable[Note]) -> list[dict[str, Any]]:
    """Notes as JSON holds them."""
    return [msgspec.to_builtins(note) for note in notes]


def notes_in(record: Mapping[str, Any] | None) -> list[Note]:
    """Return the notes of a run record or of predictions' settings; empty without."""
    try:
        return msgspec.convert((record or {}).get(KEY, []), list[Note])
    except msgspec.ValidationError:
        return []
