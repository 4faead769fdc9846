"""How the package is built, in numbers: `python -m chartscan_lab.house [FOLDER]` prints the table.

Counts product files alone, not the lab and not the tests. A line is one with something on it. A room is a
folder of the package; files beside the folders are rooms of their own.
"""

import ast
import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import chartscan

SMALL = 25  # lines of a file that is too small, unless it is __init__ or __main__
_REACHED = """
import json, sys
import chartscan, chartscan.commands.train
from chartscan.recipes import find_recipe
find_recipe("ehrmamba-tiny")
print(json.dumps(sorted(name for name in sys.modules if name.split(".")[0] == "chartscan")))
"""


class House(NamedTuple):
    """Figures of a package."""

    files: int
    lines: int
    median_lines: float
    small_files: tuple[str, ...]
    import_share: float  # of all lines
    largest_room: str
    largest_room_share: float
    function_median: float  # lines
    function_p90: float


def measured(folder: Path) -> House:
    """The figures of the package in `folder`."""
    texts = {file.relative_to(folder).as_posix(): file.read_text() for file in sorted(folder.rglob("*.py"))}
    lines = {name: len(_full(text)) for name, text in texts.items()}
    rooms: Counter[str] = Counter()
    for name, count in lines.items():
        rooms[name.partition("/")[0]] += count
    room, most = rooms.most_common(1)[0]
    total = sum(lines.values())
    own = [count for name, count in lines.items() if not name.endswith("__init__.py")]
    functions = sorted(length for text in texts.values() for length in _function_lengths(text))
    return House(
        files=len(texts),
        lines=total,
        median_lines=statistics.median(own),
        small_files=tuple(
            n for n, c in lines.items() if c < SMALL and not n.endswith(("__init__.py", "__main__.py"))
        ),
        import_share=sum(map(_import_lines, texts.values())) / total,
        largest_room=room,
        largest_room_share=most / total,
        function_median=statistics.median(functions),
        function_p90=functions[int(0.9 * len(functions))],
    )


def reached() -> list[str]:
    """Own modules imported before EHRMamba is trained, in a fresh process; the training itself loads more."""
    found = subprocess.run([sys.executable, "-c", _REACHED], capture_output=True, text=True, check=True)
    names: list[str] = json.loads(found.stdout.splitlines()[-1])
    return names


def table(found: House, modules: int) -> str:
    """The figures beside what they should be."""
    rows: list[tuple[str, Any, str]] = [
        ("files", found.files, "at most 230"),
        ("lines", f"{found.lines:,}", ""),
        ("lines of a file, median", f"{found.median_lines:.0f}", "at least 120"),
        (f"files under {SMALL} lines", len(found.small_files), "0"),
        ("import lines", f"{found.import_share:.1%}", "at most 5 %"),
        ("modules imported before training EHRMamba", modules, "at most 90"),
        (f"largest room ({found.largest_room})", f"{found.largest_room_share:.1%}", "at most 16 %"),
        ("lines of a function, median", f"{found.function_median:.0f}", "at most 8"),
        ("lines of a function, 90th percentile", f"{found.function_p90:.0f}", "at most 25"),
    ]
    return "\n".join(f"{name:<40}{value!s:>10}   {goal}" for name, value, goal in rows)


def _full(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _import_lines(text: str) -> int:
    nodes = (n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.Import, ast.ImportFrom)))
    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes)


def _function_lengths(text: str) -> Iterator[int]:
    """Lines of each function, its docstring and blank lines not counted."""
    rows = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            described = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            said = range(first.lineno, (first.end_lineno or 0) + 1) if described else range(0)
            numbers = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            yield sum(bool(rows[n - 1].strip()) for n in numbers if n not in said)


def main() -> None:
    """Print the table of the installed package, or of the one in a folder."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(chartscan.__file__).parent
    found = measured(folder)
    print(table(found, len(reached())))
    print("\n".join(("", *found.small_files)))


if __name__ == "__main__":
    main()
