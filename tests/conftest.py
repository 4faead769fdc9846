"""Fixtures shared by all tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["CHARTSCAN_SITE_KEY"] = "open"  # no record here is anybody's; ids are the same on every machine

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def open_data() -> Callable[[str], Path]:
    """The folder of an open data set by name; skips where it is absent, fails in CI."""

    def folder(name: str) -> Path:
        root = Path(os.environ.get("CHARTSCAN_DATA", REPOSITORY.parent / "shared" / "data"))
        path = root / name
        if path.exists():
            return path
        reason = f"open data set '{name}' not found; point CHARTSCAN_DATA at the folder that holds it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    return folder
