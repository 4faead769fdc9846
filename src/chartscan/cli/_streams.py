"""Standard output and error that no command fails by: a closed pipe and letters that they cannot show.

What a command makes are its files. Whether somebody still reads along must not decide if they are written.
"""

import io
import os
from typing import TextIO


class _Pipe(io.FileIO):
    """A descriptor that takes what is written, also after the reader has gone."""

    def write(self, data) -> int:  # type: ignore[no-untyped-def, override]
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return len(data)


def steady(stream: TextIO | None) -> TextIO:
    """The stream, or one in its place that raises for no closed pipe and no letter outside of its encoding.

    Letters that it cannot show are written as escapes, such as \\xfc. A stream that is closed is nowhere.
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
