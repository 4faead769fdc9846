"""The pages: links lead somewhere, the glossary is short, and the site builds and fits a telephone."""

import importlib.util
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from browser import CHROMIUM, browser

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
SITE = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in headings(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_log_that_a_page_names_exists(page):
    for name in re.findall(r"`(log/[\w.-]+\.md)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), name


def test_the_navigation_has_each_page_once_and_the_start_page_leads_to_each():
    def files(entry):
        return [entry] if isinstance(entry, str) else [f for part in parts(entry) for f in files(part)]

    def parts(entry):
        return entry.values() if isinstance(entry, dict) else entry

    pages = [str(page.relative_to(ROOT / "docs").as_posix()) for page in DOCS]
    assert sorted(files(SITE["nav"])) == pages
    start = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert all(f"]({page})" in start for page in pages if page != "index.md")


def test_pages_of_the_site_link_only_to_pages_of_the_site():
    for page in DOCS:
        targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        names = [target.partition("#")[0] for target in targets if "://" not in target]
        assert {(page.parent / name).resolve() for name in names if name} <= set(DOCS), page.name


def test_every_name_of_the_reference_exists():
    names = [
        name
        for page in DOCS
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(names) == len(set(names)) > 30
    for name in names:
        assert pkgutil.resolve_name(name).__doc__, name


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; the build fails at the first warning."""
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("the extra 'docs' is not installed (make docs)")
    place = tmp_path_factory.mktemp("docs")
    shutil.copy(ROOT / "zensical.toml", place)
    for folder in ("docs", "src", "lab/docs"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    here = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=place, env=os.environ | here, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return place / "site"


def test_the_site_shows_signatures_and_what_comments_say_of_fields(site):
    functions = (site / "reference" / "functions.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", functions)
    assert "Write a synthetic hospital as a FHIR R4 bulk export" in text
    assert "mean probability" in text  # the comment on CalibrationBin.predicted
    assert "first_prediction" in text


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Says nothing."""


@contextmanager
def served(folder):
    """The address at which the files of a folder are served."""
    handler = partial(_Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_no_page_of_the_site_scrolls_sideways_or_asks_another_host(site, tmp_path):
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    with served(site) as address, browser(tmp_path) as page:
        for width in (1400, 400):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == 400}
            page.send("Emulation.setDeviceMetricsOverride", **size)
            for file in sorted(site.rglob("*.html")):
                if file.name != "404.html":
                    page.open(f"{address}/{file.relative_to(site).as_posix()}")
                    assert not page.value(wide), f"{file.name} at {width} px"
        assert all(url.startswith((address, "data:", "blob:")) for url in page.requests)
        assert not page.complaints


def test_the_readme_stays_under_two_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 70


def test_the_glossary_explains_each_word_once_in_one_short_sentence():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\| (.+?) \| (.+) \|$", text, re.MULTILINE) if row[0] != "word"]
    words = [word for word, _ in rows]
    assert len(words) == len(set(words))
    assert 25 <= len(words) <= 40
    for word, meaning in rows:
        assert re.fullmatch(r"[A-Z][^.]*(\.\w[^.]*)*\.", meaning), word
        assert len(meaning.split()) <= 30, word
