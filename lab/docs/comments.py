"""A part of the site's generator: comments on fields and constants become their text in the reference.

What stands on the line of a field or constant, or on lines of their own right above, explains it. A value of
several lines, such as a table's columns, is shown as its source, which holds its comments.
"""

import io
import textwrap
import tokenize
from typing import Any

import griffe


class Comments(griffe.Extension):
    """Gives attributes without a docstring their comments as one."""

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called by griffe for each attribute that it meets."""
        if attr.docstring or attr.lineno is None or attr.endlineno is None or not attr.filepath:
            return
        lines = attr.lines_collection[attr.filepath]
        text = "\n".join(
            filter(None, [_above(lines, attr.lineno), _on(lines[attr.lineno - 1 : attr.endlineno])])
        )
        if text:
            attr.value = None if "```" in text else attr.value  # once is enough
            attr.docstring = griffe.Docstring(text, parent=attr, lineno=attr.lineno)


def _above(lines: list[str], lineno: int) -> str:
    """The comment on whole lines right above the line `lineno`, which counts from 1."""
    first = lineno - 1
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return "\n".join(line.strip().removeprefix("#").strip() for line in lines[first : lineno - 1])


def _on(source: list[str]) -> str:
    """The comment of one line; of several lines their whole source, as code."""
    text = textwrap.dedent("\n".join(source))
    if len(source) > 1 and "#" in text:
        return f"\n```python\n{text}\n```"
    try:
        found = [
            t.string
            for t in tokenize.generate_tokens(io.StringIO(text).readline)
            if t.type == tokenize.COMMENT
        ]
    except tokenize.TokenError:
        return ""
    return found[-1].lstrip("# ").strip() if found else ""
