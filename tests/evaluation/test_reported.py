"""The report's lists of metrics are made of their records, and a metric from outside joins them."""

import json
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec
import numpy as np
import pytest

from chartscan import find
from chartscan.commands.evaluate import ReportPlan, run_evaluate
from chartscan.errors import ConfigError
from chartscan.evaluation import Evaluation, evaluate, write_predictions
from chartscan.evaluation.bootstrap import (
    RANKED,
    Answers,
    called_statistics,
    multiplicities,
    percentile_interval,
    scores_of,
    summed_statistics,
)
from chartscan.evaluation.compare import answers
from chartscan.evaluation.report import report_html, verdict
from chartscan.evaluation.reported import built_in, reported
from chartscan.evaluation.sections import ReportSections
from chartscan.metrics import Metric
from icu import Silent

PAGE = Path(__file__).parent.parent.parent / "docs" / "extend-metric.md"
# Resamples keep the bins or the fit of the whole set: equal there, near elsewhere.
NEAR = {
    "expected_calibration_error",
    "calibration_slope",
    "calibration_intercept",
    "calibration_in_the_large",
}
SUMMED = [metric for metric in built_in() if metric.row_sums]


@pytest.fixture
def log_loss(tmp_path) -> Path:
    """The metric of docs/extend-metric.md as a file."""
    path = tmp_path / "log_loss.py"
    path.write_text(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0])
    return path


def quicker(path: Path) -> Path:
    """The same metric with its form for the bootstrap, as the page writes it."""
    form = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    other = path.with_name("quick.py")
    other.write_text(path.read_text().partition("METRIC =")[0] + form)
    return other


def sample(seed=0, n=150, subjects=40):
    rng = np.random.default_rng(seed)
    scores = rng.beta(1, 3, n)
    member = np.concatenate([np.arange(subjects), rng.integers(0, subjects, n - subjects)])
    return Answers(rng.random(n) < scores, scores, scores >= 0.3), member


def test_every_reported_metric_has_a_form_for_the_bootstrap_and_its_own_column():
    names = [metric.name for metric in built_in()]
    assert len(set(names)) == len(names)
    assert set(RANKED) < set(names)
    assert all(metric.row_sums or metric.name in RANKED for metric in built_in())
    assert len({metric.position for metric in built_in()}) == len(names)
    assert all(metric.direction in ("max", "min") for metric in built_in() if metric.compared)


@pytest.mark.parametrize("metric", SUMMED, ids=lambda metric: metric.name)
def test_the_form_of_sums_equals_the_function(metric):
    said, subjects = sample()
    form = summed_statistics(said, subjects, 40, (metric,))
    called = called_statistics(said, subjects, (metric,))
    drawn = np.ones((1, 40)) if metric.name in NEAR else next(multiplicities(40, 30, seed=1))
    np.testing.assert_allclose(form(drawn)[metric.name], called(drawn)[metric.name], rtol=0, atol=1e-9)


def test_a_metric_of_decisions_is_nan_where_nothing_was_decided():
    said, subjects = sample()
    undecided = said._replace(decisions=None)
    (f1,) = [metric for metric in built_in() if metric.reads == "decisions"]
    assert scores_of(f1, undecided) is None
    for form in (
        summed_statistics(undecided, subjects, 40, (f1,)),
        called_statistics(undecided, subjects, (f1,)),
    ):
        assert np.isnan(form(np.ones((2, 40)))["f1"]).tolist() == [True, True]


def test_a_metric_of_the_user_stands_in_the_report_with_its_interval(log_loss, make_models, tmp_path):
    for one in make_models(n=300, subjects=120)[0]:
        write_predictions(tmp_path / f"{one.model}.parquet", one.table, one.task, one.model, {})
    mine, baseline = tmp_path / "ehrmamba-small.parquet", tmp_path / "xgboost.parquet"
    plan = ReportPlan([mine], tmp_path / "out", against=[baseline], bootstrap=40, metrics=[log_loss])
    report, _ = run_evaluate(plan, Silent())
    found = msgspec.convert(json.loads((tmp_path / "out" / "metrics.json").read_bytes()), Evaluation)
    estimate = found.tasks[0].models[0].estimates["log_loss"]
    keys, said = answers(make_models(n=300, subjects=120)[0][0])
    _, subjects = np.unique(keys[:, 0], return_inverse=True)
    loss = -np.log(np.where(said.labels, said.probabilities, 1 - said.probabilities))
    drawn = next(multiplicities(subjects.max() + 1, 40, seed=0))[:, subjects]
    assert estimate.value == pytest.approx(loss.mean())
    assert (estimate.low, estimate.high) == pytest.approx(
        percentile_interval((drawn @ loss) / drawn.sum(axis=1))
    )
    (difference,) = [one for one in found.tasks[0].differences if one.metric == "log_loss"]
    assert difference.estimate.value < 0
    assert verdict(difference) == "better"
    assert found.metrics[-1].name == "log_loss"
    page = report.read_text()
    assert "<th>Log loss</th>" in page
    assert f'data-value="{estimate.value}"' in page


def test_both_forms_of_the_page_give_the_same_report(log_loss, make_models):
    sets = make_models(n=300, subjects=120)[0]
    quick = quicker(log_loss)
    found = [evaluate(sets, bootstrap=20, metrics=reported([path])) for path in (log_loss, quick)]
    slow, fast = ([m.estimates["log_loss"] for m in one.tasks[0].models] for one in found)
    for a, b in zip(slow, fast, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


def test_the_columns_of_the_report_are_the_records(make_models):
    found = evaluate(make_models(n=300, subjects=120)[0], bootstrap=20)
    page = report_html(found, ReportSections())
    headings = re.findall(r"<th>([^<]*)</th>", page[page.index("<th>Model</th>") :])[1:]
    shown = [metric.title for metric in built_in() if metric.shown]
    assert headings[: len(shown)] == shown
    assert set(found.tasks[0].models[0].estimates) == {metric.name for metric in built_in()}
    assert "Best values: O : E 1, Calibration in the large 0, Calibration slope 1." in page


def test_a_metric_of_an_installed_package_is_always_reported(log_loss, monkeypatch):
    monkeypatch.syspath_prepend(log_loss.parent)
    points = [EntryPoint("log_loss", "log_loss", "chartscan.metrics")]
    monkeypatch.setattr(find, "entry_points", lambda group: points if group == "chartscan.metrics" else [])
    assert [one.name for one in reported()] == [*(one.name for one in built_in()), "log_loss"]
    with pytest.raises(ConfigError, match="there is a metric named 'log_loss' already"):
        reported([log_loss])
    sys.modules.pop("log_loss", None)


def test_a_file_may_hold_several_metrics(log_loss):
    text = log_loss.read_text()
    several = (
        "METRICS = (METRIC, Metric('negative_log_loss', 'Less', 'max', lambda *a, **k: -log_loss(*a, **k)))"
    )
    log_loss.write_text(f"{text}\n\n{several}\n")
    assert [one.name for one in reported([log_loss])][-2:] == ["log_loss", "negative_log_loss"]
    log_loss.write_text(f"{text}\n\nMETRICS = (METRIC, 3)\n")
    with pytest.raises(ConfigError, match=r"log_loss.py: a metric needs METRICS\[1\]"):
        reported([log_loss])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("METRIC = ", "MINE = ", "a metric needs METRIC. Write: METRIC = Metric"),
        ('Metric("log_loss"', 'Metric("auroc"', "there is a metric named 'auroc' already"),
        ('Metric("log_loss"', 'Metric("log loss"', "METRIC.name: expected letters"),
        ('"Log loss"', '" "', "METRIC.title: expected"),
        ('"min"', '"low"', "METRIC.direction: expected 'max', 'min'"),
        ('"min"', "0.0", "METRIC.compared: only"),
        ("scores, weights=None", "scores", "METRIC.function: failed on 40 made-up rows .TypeError"),
        ("compared=True", "lambda y, s: (s[:, None], lambda t: t[0])", "METRIC.row_sums: gives"),
        ("compared=True", "lambda y, s: s", "METRIC.row_sums: failed"),
        ("compared=True", "reads='scores'", "METRIC.reads: expected"),
    ],
)
def test_a_file_that_is_no_metric_is_refused_with_what_it_lacks(log_loss, old, new, message):
    text = log_loss.read_text()
    assert old in text
    log_loss.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=f"log_loss.py: {message}"):
        reported([log_loss])


def test_a_metric_that_fails_on_a_resample_is_named():
    said, subjects = sample()

    def fussy(labels, scores, weights):
        raise ZeroDivisionError("one class")

    with pytest.raises(
        ConfigError, match=r"The metric fussy failed on 150 rows .ZeroDivisionError: one class"
    ):
        called_statistics(said, subjects, (Metric("fussy", "Fussy", "max", fussy),))(np.ones((1, 40)))
