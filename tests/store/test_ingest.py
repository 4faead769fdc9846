"""The recipe around the writer: what the flags change, where it may write, and its progress bars."""

import json
from contextlib import contextmanager

import msgspec
import pytest

from chartscan.commands import ingest
from chartscan.commands.ingest import IngestPlan, run_ingest, store_config
from chartscan.errors import ConfigError
from chartscan.store.config import DaysAfterLastEvent
from hospital import random_events


class Source:
    """A source of a few events, with nothing to set."""

    class Config(msgspec.Struct, frozen=True):
        pass

    @staticmethod
    def read(path, writer, config, progress):
        writer.write(random_events(100, 5))
        progress(1, 1)


class OneBar:
    """A display on which only one bar can be alive, as with rich 13."""

    def __init__(self):
        self.alive = None
        self.shown = []

    def say(self, text):
        pass

    def note(self, note):
        pass

    @contextmanager
    def progress(self, title, unit):
        assert self.alive is None, f"{title} opened while {self.alive} is alive"
        self.alive = title
        self.shown.append(title)
        yield lambda done, total, words="": None
        self.alive = None


@pytest.fixture(autouse=True)
def source(monkeypatch):
    monkeypatch.setattr(ingest, "find", lambda kind, name: Source)


def plan(place, **given):
    (place / "in").mkdir(exist_ok=True)
    return IngestPlan(**{"source": "fake", "path": place / "in", "out": place / "out"} | RIGHT | given)


RIGHT = {"settings": [], "store": []}


def test_one_bar_is_alive_at_a_time_and_sorting_comes_after_reading(tmp_path):
    display = OneBar()
    run_ingest(plan(tmp_path), display)
    assert display.shown == ["Reading", "Sorting"]


RULE = json.dumps({"rule": "days_after_last_event", "days": 7})


@pytest.mark.parametrize(
    ("given", "strict", "days"),
    [
        ({}, False, None),
        ({"store": ["strict=true"]}, True, None),
        ({"strict": True}, True, None),
        ({"store": [f"follow_up={RULE}"]}, False, 7),
        ({"store": [f"follow_up={RULE}", "strict=true"], "follow_up_days": 9}, True, 9),
    ],
)
def test_a_setting_of_the_store_stays_unless_its_flag_was_given(tmp_path, given, strict, days):
    config = store_config(plan(tmp_path, **given))
    assert config.strict == strict
    assert config.follow_up == (None if days is None else DaysAfterLastEvent(days))


@pytest.mark.parametrize(
    "given",
    [
        {"follow_up_days": -5},
        {"store": ['follow_up={"rule": "days_after_last_event", "days": -5}']},
    ],
)
def test_a_follow_up_before_the_last_event_is_a_wrong_setting(tmp_path, given):
    with pytest.raises(ConfigError, match="must not be negative"):
        run_ingest(plan(tmp_path, **given), OneBar())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("path", "out"), [("in", "in"), ("in", "in/out"), ("in/a", "in"), ("in", "a/../in")])
def test_the_output_is_never_the_input_nor_inside_it_nor_around_it(tmp_path, path, out):
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "Patient.ndjson").write_text("{}")
    with pytest.raises(ConfigError, match="not be the same folder"):
        run_ingest(plan(tmp_path, path=tmp_path / path, out=tmp_path / out, overwrite=True), OneBar())
    assert [p.name for p in (tmp_path / "in").rglob("*")] == ["a", "Patient.ndjson"]


def test_folders_side_by_side_whose_names_begin_alike_are_fine(tmp_path):
    dataset, _ = run_ingest(plan(tmp_path, out=tmp_path / "in-2"), OneBar())
    dataset.verify()
