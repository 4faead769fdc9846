"""A run has its place before it does anything: one run an output, and no advice to remove what is in use."""

import sys
from contextlib import contextmanager

import pytest

from chartscan.commands.demo import run_demo
from chartscan.commands.explain import ExplainPlan, run_explain
from chartscan.commands.train import run_train
from chartscan.errors import ConfigError, DataError, MissingExtra
from chartscan.lock import OutputLock
from chartscan.runs import work
from chartscan_lab.study._command import StudyPlan, run_study
from icu import Silent


def train(tmp_path, **settings):
    run_train("gru", tmp_path / "no data", tmp_path / "run", None, [], Silent(), **settings)


def explain(tmp_path):
    list(run_explain(ExplainPlan(*[tmp_path / "none"] * 3, tmp_path / "run"), 1, Silent()))


def study(tmp_path):
    list(run_study(StudyPlan("hours", tmp_path / "run"), Silent()))


def demo(tmp_path):
    run_demo(tmp_path / "run", 1, 0, 1, Silent())


@pytest.mark.parametrize("command", [train, explain, study, demo])
def test_a_place_in_use_is_refused_before_anything_is_read(command, tmp_path):
    with OutputLock(tmp_path / "run"), pytest.raises(ConfigError, match="in use by another run") as caught:
        command(tmp_path)
    assert "remove" not in str(caught.value).lower()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [train, explain])
def test_the_lock_is_given_back_where_the_work_fails(command, tmp_path):
    for _ in range(2):
        with pytest.raises(DataError):
            command(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_run_is_told_before_data_is_read_and_nobody_is_told_to_remove_it(tmp_path):
    (tmp_path / "run.work").mkdir()
    with pytest.raises(ConfigError, match="--resume") as caught:
        train(tmp_path)
    assert "remove" not in str(caught.value).lower()
    with pytest.raises(DataError, match="no such folder"):
        train(tmp_path, resume=True)


def test_a_run_that_was_published_while_another_waited_is_not_overwritten(tmp_path, monkeypatch):
    @contextmanager
    def published_meanwhile(out):
        out.mkdir()
        yield

    monkeypatch.setattr(work, "OutputLock", published_meanwhile)
    with pytest.raises(ConfigError, match="exists already"):
        train(tmp_path)


@pytest.mark.parametrize("recipe", ["xgboost", "logistic-summary", "hymate-blend"])
def test_a_recipe_with_nothing_to_track_says_so_before_any_work(tmp_path, monkeypatch, recipe):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # it would not help to install it
    with pytest.raises(ConfigError, match=f"{recipe} has nothing to track"):
        run_train(
            recipe, tmp_path / "no data", tmp_path / "run", None, [], Silent(), track=tmp_path / "curves"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r"pip install 'chartscan\[track\]'"):
        train(tmp_path, track=tmp_path / "curves")
    assert list(tmp_path.iterdir()) == []
