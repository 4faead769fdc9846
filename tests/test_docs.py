"""The pages: links lead somewhere, and the glossary is short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in headings(file), target


def test_the_glossary_explains_each_word_once_in_one_short_sentence():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\| (.+?) \| (.+) \|$", text, re.MULTILINE) if row[0] != "word"]
    words = [word for word, _ in rows]
    assert len(words) == len(set(words))
    assert 25 <= len(words) <= 40
    for word, meaning in rows:
        assert re.fullmatch(r"[A-Z][^.]*(\.\w[^.]*)*\.", meaning), word
        assert len(meaning.split()) <= 30, word
