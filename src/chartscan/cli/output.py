"""What reaches the terminal when something fails: streams that stay open, and errors without content.

What a command makes are its files: neither a closed pipe nor a letter that cannot be shown may stop it.
Readers of data quote what they read, and so do KeyError and ValueError. A text of an unexpected error may
hold a name, so it is left out, in what a command says and in the traceback of CHARTSCAN_DEBUG=1. Kinds and
places are shown, texts only of our own errors.
"""

import io
import linecache
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from chartscan.errors import ChartscanError


class _Pipe(io.FileIO):
    """A descriptor that takes what is written, also after the reader has gone."""

    def write(self, data) -> int:  # type: ignore[no-untyped-def, override]
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return len(data)


def steady(stream: TextIO | None) -> TextIO:
    """Return a stream that survives a closed pipe and letters outside its encoding.

    Letters that it cannot show are written as escapes, such as \xfc. A stream that is closed is nowhere.
    """
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # not a file: captured by a test or a notebook
        return stream
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(descriptor, "wb", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )


# Where numbers are computed, and nothing but numbers is known: what torch says there holds shapes and sizes.
_NUMERIC = ("torch", "numpy", "kernels", "layers", "models", "objectives", "training", "batches", "neural")
_LEFT_OUT = "(its text is left out: it may hold content of records)"


def unexpected(err: BaseException, arguments: Sequence[str] = ()) -> str:
    """Describe an unexpected error: its kind, its place, and settings that may cause it.

    Its text is shown only where it is about numbers.
    """
    ours = [f for f in traceback.extract_tb(err.__traceback__) if f"{os.sep}chartscan{os.sep}" in f.filename]
    place = f" at {Path(ours[-1].filename).name}, line {ours[-1].lineno}" if ours else ""
    words = str(err).partition("\n")[0] if _is_numeric(err) else ""
    given = [b for a, b in pairwise(arguments) if a in ("--set", "--store")]
    cause = f" The cause may be a setting: {', '.join(given)}." if given else ""
    return f"unexpected {type(err).__name__}{place}{f': {words}' if words else ''}.{cause}"


def traceback_without_content(err: BaseException) -> str:
    """Return kinds and places of `err` and the errors behind it, without their texts."""
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

    sys.excepthook = lambda kind, err, trace: show(err)
    threading.excepthook = lambda about: show(about.exc_value)
    sys.unraisablehook = lambda about: show(about.exc_value)


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
