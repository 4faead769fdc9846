"""Plain English: words that make readers stumble stay out, and first lines of docstrings stay short."""

import ast
import re
from pathlib import Path

import chartscan

SOURCE = Path(chartscan.__file__).parent
ROOT = SOURCE.parent.parent
FORBIDDEN = re.compile(
    r"\b(nobody|whatever|whom|so many|is told|are told|what is asked)\b(?! apart)", re.IGNORECASE
)
WORDS = 15  # of the first line of a public docstring
# What holds today, and no looser: first lines that are longer. The goal is none.
LONG = 683


def pages():
    """Every file that readers see: code of both packages and documents."""
    folders = (SOURCE, ROOT / "lab" / "src")
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    return [*files, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def first_lines():
    """First lines of the docstrings of public modules, classes and functions."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                name = getattr(node, "name", file.stem)
                text = ast.get_docstring(node)
                if text and not (name.startswith("_") and name != "__init__"):
                    yield text.partition("\n")[0]


def test_words_that_make_readers_stumble_stay_out():
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in pages()
        for line in file.read_text(encoding="utf-8").splitlines()
        if FORBIDDEN.search(line)
    ]
    assert not found


def test_first_lines_of_docstrings_do_not_get_longer():
    lines = list(first_lines())
    assert len(lines) > 2000
    long = [line for line in lines if len(line.split()) > WORDS]
    assert len(long) <= LONG, "Shorten the new ones; whoever shortens old ones lowers LONG."
