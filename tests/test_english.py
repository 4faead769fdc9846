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
WORDS = 15  # of the first line of a public docstring; a shape such as (B, L, D) counts as one word
SHAPE = re.compile(r"\((?:[\w.]+(?: [-+*/x] [\w.]+)*)(?:,(?: [\w.]+(?: [-+*/x] [\w.]+)*)?)*\)")
WORDS_OF_A_SENTENCE = 30  # in documents; code and addresses count as one word
LONG_SENTENCES = 20  # what holds today, and no more; whoever splits one lowers it


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


def test_first_lines_of_docstrings_are_short():
    lines = list(first_lines())
    assert len(lines) > 2000
    assert not [line for line in lines if len(SHAPE.sub("SHAPE", line).split()) > WORDS]


def sentences(text: str):
    """The sentences of a page, without code blocks, tables and headings."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for block in re.split(r"\n\s*\n", text):
        if block.lstrip().startswith(("|", "<", "#")):
            continue
        for item in re.split(r"\n(?=\s*(?:[-*]|\d+\.)\s)", block):
            plain = re.sub(r"`[^`]*`", "CODE", " ".join(item.split()))
            plain = re.sub(r"\]\([^)]*\)", "]", plain)
            yield from re.split(r"(?<=[.!?:;])[\")*]*\s+(?=[A-Z\[\"*(0-9])", plain)


def test_sentences_of_documents_do_not_get_longer():
    documents = [file for file in pages() if file.suffix == ".md"]
    long = [
        f"{file.name}: {sentence}"
        for file in documents
        for sentence in sentences(file.read_text(encoding="utf-8"))
        if len(sentence.split()) > WORDS_OF_A_SENTENCE
    ]
    assert len(long) <= LONG_SENTENCES, long


def test_every_page_opens_with_a_sentence_of_text():
    for file in pages():
        if file.suffix == ".md" and file.parent.name != "reference":
            title, _, rest = file.read_text(encoding="utf-8").partition("\n\n")
            assert title.startswith("# ")
            assert re.match(r"[A-Z`c]", rest), file.name
