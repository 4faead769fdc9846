"""The fast bootstrap equals the metrics resample by resample, and its intervals cover the truth."""

import time

import numpy as np
import pytest

from chartscan.evaluation.bootstrap import (
    THRESHOLDS,
    Answers,
    bootstrap,
    multiplicities,
    percentile_interval,
    ranked_statistics,
    share_beyond_zero,
    summed_statistics,
    values,
)
from chartscan.metrics.calibration import (
    brier,
    calibration_in_the_large,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    observed_expected,
    reliability_curve,
)
from chartscan.metrics.decisions import f1
from chartscan.metrics.discrimination import auroc, average_precision


def rows(seed, n=120, subjects=40, digits=None):
    """Labels, probabilities and the subject of each row."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(1, 3, n)
    labels = rng.random(n) < scores
    labels[:2] = [True, False]
    member = np.concatenate([np.arange(subjects), rng.integers(0, subjects, n - subjects)])
    return labels, scores if digits is None else np.round(scores, digits), member


@pytest.mark.parametrize("digits", [None, 1])
def test_ranked_statistics_equal_the_metrics_on_every_resample(digits):
    labels, scores, subjects = rows(1, digits=digits)
    drawn = next(multiplicities(40, 50, seed=3))
    found = ranked_statistics(labels, scores, subjects)(drawn)
    for k, counts in enumerate(drawn):
        weights = counts[subjects]
        assert found["auroc"][k] == pytest.approx(auroc(labels, scores, weights), abs=1e-12)
        assert found["average_precision"][k] == pytest.approx(
            average_precision(labels, scores, weights), abs=1e-12
        )


def test_ranked_statistics_do_not_depend_on_their_working_size(monkeypatch):
    labels, scores, subjects = rows(2)
    whole = bootstrap(ranked_statistics(labels, scores, subjects), 40, 63, seed=0)
    monkeypatch.setattr("chartscan.evaluation.bootstrap.WORKING_BYTES", 4000)
    parts = bootstrap(ranked_statistics(labels, scores, subjects), 40, 63, seed=0)
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_summed_statistics_equal_the_metrics_on_every_resample():
    labels, scores, subjects = rows(3, digits=2)
    drawn = next(multiplicities(40, 50, seed=4))
    found = summed_statistics(Answers(labels, scores, scores >= 0.3), subjects, 40)(drawn)
    for k, counts in enumerate(drawn):
        weights = counts[subjects]
        assert found["brier"][k] == pytest.approx(brier(labels, scores, weights), abs=1e-12)
        assert found["f1"][k] == pytest.approx(f1(labels, scores, weights, 0.3), abs=1e-12)
        assert found["observed_expected"][k] == pytest.approx(
            observed_expected(labels, scores, weights), abs=1e-12
        )
        for threshold in THRESHOLDS:
            flagged = weights * (scores >= threshold)
            assert found[f"alerts_per_100_at_{threshold}"][k] == pytest.approx(
                100 * flagged.sum() / weights.sum()
            )
            assert found[f"sensitivity_at_{threshold}"][k] == pytest.approx(
                (flagged @ labels) / (weights @ labels)
            )
            assert found[f"specificity_at_{threshold}"][k] == pytest.approx(
                1 - (flagged @ ~labels) / (weights @ ~labels)
            )


def test_statistics_of_everybody_once_equal_the_metrics():
    labels, scores, subjects = rows(5, n=400)
    found = values(summed_statistics(Answers(labels, scores, None), subjects, 40), 40)
    for metric in (
        brier,
        observed_expected,
        expected_calibration_error,
        calibration_slope,
        calibration_intercept,
        calibration_in_the_large,
    ):
        assert found[metric.__name__] == pytest.approx(metric(labels, scores), abs=1e-9)
    shown = [found[f"observed_in_bin_{k}"] for k in range(15) if np.isfinite(found[f"observed_in_bin_{k}"])]
    np.testing.assert_allclose(shown, reliability_curve(labels, scores).observed, atol=1e-12)
    assert np.isnan(found["f1"])  # nobody decided anything


def test_one_step_recalibration_is_near_the_full_fit_of_a_resample():
    labels, scores, subjects = rows(6, n=3000, subjects=1000)
    drawn = next(multiplicities(1000, 40, seed=1))
    found = summed_statistics(Answers(labels, scores, None), subjects, 1000)(drawn)
    for name, metric in (
        ("calibration_slope", calibration_slope),
        ("calibration_in_the_large", calibration_in_the_large),
    ):
        full = np.array([metric(labels, scores, counts[subjects]) for counts in drawn])
        assert np.abs(found[name] - full).max() < 0.2 * full.std()
        assert found[name].std() == pytest.approx(full.std(), rel=0.05)


def test_every_resample_draws_as_many_subjects_as_there_are():
    drawn = next(multiplicities(63, 40, seed=0))
    assert drawn.shape == (40, 63)
    np.testing.assert_array_equal(drawn.sum(axis=1), 63)
    assert drawn.max() > 1


def test_resamples_depend_on_the_seed_and_not_on_the_batches():
    small = np.concatenate(list(multiplicities(63, 41, seed=7, batch_bytes=3000)))
    large = np.concatenate(list(multiplicities(63, 41, seed=7)))
    np.testing.assert_array_equal(small, large)
    assert not np.array_equal(large, np.concatenate(list(multiplicities(63, 41, seed=8))))


def test_an_interval_needs_half_of_the_resamples():
    assert percentile_interval(np.array([np.nan, np.nan, 1.0])) == pytest.approx(
        (np.nan, np.nan), nan_ok=True
    )
    low, high = percentile_interval(np.array([np.nan, 1.0, 2.0]))
    assert 1 <= low < high <= 2


def test_share_beyond_zero_is_small_only_where_one_side_is_rare():
    assert share_beyond_zero(np.full(999, 0.3)) == pytest.approx(2 / 1000)
    assert share_beyond_zero(np.array([-1.0, 1.0] * 50)) == 1.0
    assert share_beyond_zero(np.zeros(100)) == 1.0
    assert np.isnan(share_beyond_zero(np.full(10, np.nan)))


def test_a_thousand_resamples_of_thirty_thousand_rows_take_seconds():
    labels, scores, subjects = rows(8, n=30_000, subjects=20_000)
    begin = time.process_time()
    found = bootstrap(ranked_statistics(labels, scores, subjects), 20_000, 1000, seed=0)
    assert len(found["auroc"]) == 1000
    assert time.process_time() - begin < 15  # about 1 s on one idle core


def clustered(rng, subjects=120, visits=4):
    """Rows of a subject share the outcome and nearly the score, as repeated visits do."""
    label = rng.random(subjects) < 0.4
    score = rng.normal(label * 1.0, 1, subjects)
    member = np.repeat(np.arange(subjects), visits)
    return label[member], score[member] + rng.normal(0, 0.1, len(member)), member


def covered(by_subject: bool, runs=300) -> float:
    """Share of simulated studies whose 95 % interval holds the true AUROC."""
    rng = np.random.default_rng(12)
    label = np.repeat([True, False], 100_000)
    truth = auroc(label, rng.normal(label * 1.0, np.sqrt(1.01)))
    inside = 0
    for run in range(runs):
        labels, scores, subjects = clustered(rng)
        if not by_subject:
            subjects = np.arange(len(labels))
        count = subjects.max() + 1
        found = bootstrap(ranked_statistics(labels, scores, subjects), count, 300, seed=run)
        low, high = percentile_interval(found["auroc"])
        inside += low <= truth <= high
    return inside / runs


def test_intervals_over_subjects_cover_the_truth():
    assert 0.91 <= covered(by_subject=True) <= 0.98  # 1.3 % is the standard error of 300 studies


def test_intervals_over_rows_would_be_too_narrow():
    assert covered(by_subject=False, runs=100) < 0.8
