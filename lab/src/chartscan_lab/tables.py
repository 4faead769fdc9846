"""Tables of studies and benches: as Markdown for a page, as aligned lines for a terminal; and their cells."""

from collections.abc import Sequence
from typing import Any

from chartscan.evaluation.text import NOTHING

GIB, MIB = 2**30, 2**20
TIMED = ("ms", "min - max", "x", "min - max", "error")  # headings of `timed_cells`


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a Markdown table; the first column to the left, numbers to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose columns are as wide as their longest cell; the first to the left, the others to the right.

    A row of two cells under more headings is a name and a sentence, which runs over the columns.
    """
    whole = [row for row in rows if len(row) != 2 or len(headings) == 2]
    names = max(len(row[0]) for row in [headings, *rows])
    widths = [
        max(len(row[at]) for row in [headings, *whole] if at < len(row)) for at in range(1, len(headings))
    ]

    def line(row: Sequence[str]) -> str:
        if len(row) == 2 < len(headings):
            return f"{row[0]:<{names}}  {row[1]}"
        cells = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths, strict=False))
        return "  ".join([f"{row[0]:<{names}}", *cells]).rstrip()

    return [line(row) for row in [headings, *rows]]


def timed_cells(row: dict[str, Any], digits: int) -> list[str]:
    """The cells of one implementation under TIMED; `digits` of its milliseconds.

    Without a ratio, and where there is nothing to equal, cells are empty or say "other".
    """
    known = row.get("ratio") is not None
    ratios = [f"{row['ratio']:.2f}", span_text(row["ratio_range"] or [], 2)] if known else ["", ""]
    error = "other" if row["error"] is None else f"{row['error']:.1e}"
    milliseconds = [value * 1e3 for value in row["range"]]
    return [f"{row['seconds'] * 1e3:.{digits}f}", span_text(milliseconds, digits), *ratios, error]


def span_text(values: Sequence[float], digits: int) -> str:
    """`0.98 - 1.02`: the least and the greatest; nothing where there are none."""
    return " - ".join(f"{value:,.{digits}f}" for value in values)


def count_text(value: float | None, digits: int = 0) -> str:
    """A number with separators of thousands, or a dash where there is none."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def ratio_text(value: float | None) -> str:
    """A ratio with two digits, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.2f}"


def reach_text(one: dict[str, Any]) -> str:
    """`1,024* (980 to 1,100)`: the largest batch, whether beyond what was measured, and its range."""
    mark = "*" if one["extrapolated"] else ""
    span = "" if one["least"] is None else f" ({one['least']:,} to {one['most']:,})"
    return f"{one['largest']:,}{mark}{span}"
