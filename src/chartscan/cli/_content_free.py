"""Unexpected errors without the content of records: kinds and places are told, texts only of our own errors.

Readers of data quote what they read, and so do KeyError and ValueError. Nobody can say of a text that was not
foreseen whether it holds a name; so it is left out, in what a command says and in the traceback of
CHARTSCAN_DEBUG=1.
"""

import linecache
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

from chartscan.errors import ChartscanError

# Where numbers are computed, and nothing but numbers is known: what torch says there holds shapes and sizes.
_NUMERIC = ("torch", "numpy", "kernels", "layers", "models", "objectives", "training", "batches", "neural")
_LEFT_OUT = "(its text is left out: it may hold content of records)"


def unexpected(err: BaseException, arguments: Sequence[str] = ()) -> str:
    """What to say of an error nobody foresaw: its kind and place, and the settings that may have caused it.

    Its text is told only where it is about numbers.
    """
    ours = [f for f in traceback.extract_tb(err.__traceback__) if f"{os.sep}chartscan{os.sep}" in f.filename]
    place = f" at {Path(ours[-1].filename).name}, line {ours[-1].lineno}" if ours else ""
    words = str(err).partition("\n")[0] if _is_numeric(err) else ""
    given = [b for a, b in pairwise(arguments) if a in ("--set", "--store")]
    cause = f" The cause may be a setting: {', '.join(given)}." if given else ""
    return f"unexpected {type(err).__name__}{place}{f': {words}' if words else ''}.{cause}"


def traceback_without_content(err: BaseException) -> str:
    """Kinds and places of `err` and of the errors behind it, as Python shows them, without foreign texts."""
    parts: list[str] = []
    seen: set[int] = set()
    one: BaseException | None = err
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        parts.insert(0, _shown(one))
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return "\nwhich led to:\n".join(parts)


def keep_content_out_of_hooks() -> None:
    """Errors that no command meets (in threads, in finalizers) are shown without content too."""

    def show(err: BaseException | None) -> None:
        if err is not None and not isinstance(err, SystemExit):
            print(f"warning: {unexpected(err)}", file=sys.stderr)

    def excepthook(kind: type[BaseException], err: BaseException, trace: TracebackType | None) -> None:
        show(err)

    def other(about: Any) -> None:
        show(about.exc_value)

    sys.excepthook = excepthook
    threading.excepthook = other
    sys.unraisablehook = other


def _shown(err: BaseException) -> str:
    lines = [f'  File "{f.filename}", line {f.lineno}, in {f.name}' for f in _frames(err)]
    sources = [linecache.getline(f.filename, f.lineno or 0).strip() for f in _frames(err)]
    body = [part for line, source in zip(lines, sources, strict=True) for part in (line, f"    {source}")]
    kind = f"{type(err).__module__}.{type(err).__qualname__}"
    text = str(err) if isinstance(err, ChartscanError) or _is_numeric(err) else _LEFT_OUT
    within = [_shown(inner) for inner in getattr(err, "exceptions", ())]
    return "\n".join(["Traceback (most recent call last):", *body, f"{kind}: {text}", *within])


def _frames(err: BaseException) -> traceback.StackSummary:
    return traceback.extract_tb(err.__traceback__)


def _is_numeric(err: BaseException) -> bool:
    """Whether the error was raised where only numbers are known."""
    if type(err).__module__.partition(".")[0] == "torch":
        return True
    if type(err) is MemoryError:
        return True
    frames = _frames(err)
    if type(err) is not RuntimeError or not frames:
        return False
    return bool(set(Path(frames[-1].filename).parts) & set(_NUMERIC))
