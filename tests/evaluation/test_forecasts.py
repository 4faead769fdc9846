"""Forecasts against what happened: numbers equal to plain loops, intervals, and a report that holds them."""

import msgspec
import numpy as np
import pytest

from chartscan import files
from chartscan.evaluation import ForecastSet, NextTokens, evaluate_forecasts, write_forecast_report
from chartscan.evaluation.forecasts import accuracy, cosine, overlap, set_cosine

RNG = np.random.default_rng(0)
EMBEDDING = RNG.normal(size=(6, 4))
TRUTH = RNG.integers(0, 6, (63, 10))
SAID = np.where(RNG.random((63, 10)) < 0.4, TRUTH, RNG.integers(-1, 6, (63, 10)))


def unit(token):
    return np.zeros(4) if token < 0 else EMBEDDING[token] / np.linalg.norm(EMBEDDING[token])


def angle(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / lengths if lengths else 0.0


def test_accuracy_and_overlap_equal_a_loop():
    for truth, said, position, as_sets in zip(
        TRUTH, SAID, accuracy(TRUTH, SAID), overlap(TRUTH, SAID), strict=True
    ):
        assert position == sum(a == b for a, b in zip(truth, said, strict=True)) / 10
        left, matched = said.tolist(), 0
        for token in truth.tolist():
            if token in left:
                left.remove(token)
                matched += 1
        assert as_sets == matched / 10


def test_cosines_equal_a_loop():
    found = zip(TRUTH, SAID, cosine(TRUTH, SAID, EMBEDDING), set_cosine(TRUTH, SAID, EMBEDDING), strict=True)
    for truth, said, position, as_sets in found:
        each = [angle(unit(a), unit(b)) for a, b in zip(truth, said, strict=True)]
        assert position == pytest.approx(np.mean(each))
        sums = sum(map(unit, truth)), sum(map(unit, said))
        assert as_sets == pytest.approx(angle(*sums))


def test_what_was_not_forecast_matches_nothing():
    nothing = np.full((2, 3), -1)
    truth = np.array([[1, 1, 2], [5, 0, 5]])
    for found in (accuracy(truth, nothing), overlap(truth, nothing), cosine(truth, nothing, EMBEDDING)):
        assert not found.any()
    assert not set_cosine(truth, nothing, EMBEDDING).any()


def next_tokens(n=4000, bias=0.0):
    probabilities = RNG.random(n)
    came = RNG.random(n) < np.clip(probabilities + bias, 0, 1)
    return NextTokens(RNG.integers(0, 50, n), probabilities, came)


def evaluated(**settings):
    sets = [ForecastSet("all tokens", TRUTH, {"model": SAID, "copy": np.roll(SAID, 1, axis=0)})]
    counted = {"tokens": 630, "out of order": 3}
    return evaluate_forecasts(sets, EMBEDDING, next_tokens(**settings), counted, 200)


def test_scores_are_means_over_subjects_with_paired_differences():
    found = evaluated()
    for score in found.scores:
        said = SAID if score.method == "model" else np.roll(SAID, 1, axis=0)
        if score.metric == "accuracy":
            expected = accuracy(TRUTH[:, : score.first], said[:, : score.first]).mean()
            assert score.estimate.value == pytest.approx(expected)
            assert score.estimate.low <= expected <= score.estimate.high
        if score.method == "model":
            assert score.difference is None
        elif score.metric == "accuracy" and score.first == 10:
            ours = accuracy(TRUTH, SAID) - accuracy(TRUTH, said)
            assert score.difference.estimate.value == pytest.approx(ours.mean())
            assert score.difference.estimate.low > 0
    assert {s.first for s in found.scores} == {1, 2, 5, 10}


def test_calibration_error_is_small_for_right_probabilities_and_large_for_wrong_ones():
    right, wrong = evaluated(), evaluated(bias=0.3)
    assert right.calibration_error.value < 0.05 < 0.2 < wrong.calibration_error.value
    assert sum(b.predictions for b in right.calibration) == right.next_tokens == 4000
    for one in right.calibration:
        assert abs(one.observed.value - one.predicted) < 0.12
        assert one.observed.low <= one.observed.value <= one.observed.high


def test_the_report_holds_every_number_and_asks_for_nothing(tmp_path):
    found = evaluated()
    path = write_forecast_report(found, tmp_path, "<b>Forecasts</b>", {"Model": "<script>alert(1)</script>"})
    html, text = path.read_text(), (tmp_path / "forecasts.md").read_text()
    assert files.read_report(tmp_path / "forecasts.json", "") == msgspec.to_builtins(found)
    for score in found.scores:
        assert f"{score.estimate.value:.3f}" in html
        assert f"{score.estimate.value:.3f}" in text
    assert "<script>alert(1)" not in html
    assert "default-src 'none'" in html
    assert "3 cannot follow" in " ".join(html.split())
