"""What every metric promises merely by being a function of chartscan/metrics."""

import inspect

import numpy as np
import pytest

from chartscan.find import find, names

FOUND = {
    name: function
    for module in names("metrics")
    for name, function in inspect.getmembers(find("metrics", module), inspect.isfunction)
    if function.__module__ == f"chartscan.metrics.{module}"
    and list(inspect.signature(function).parameters)[:3] == ["labels", "scores", "weights"]
}
METRICS = sorted(FOUND)


def metric(name):
    return FOUND[name]


def numbers(result):
    """A scalar or a curve as one flat array."""
    if isinstance(result, tuple):
        return np.concatenate([np.asarray(part, dtype=float) for part in result])
    assert isinstance(result, float)
    return np.array([result])


def sample(n=63, seed=0):
    """Labels, tied scores in (0, 1), integer weights with zeros."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, 20, n) / 20
    return (rng.random(n) < scores), scores, rng.integers(0, 4, n)


def test_metrics_are_found():
    assert {"auroc", "average_precision", "brier", "f1", "net_benefit"} <= set(METRICS)


def test_every_record_of_the_package_is_of_a_metric_tested_here():
    records = [metric for module in names("metrics") for metric in find("metrics", module).METRICS]
    assert {record.name: record.function for record in records}.items() <= FOUND.items()


@pytest.mark.parametrize("name", METRICS)
class TestEveryMetric:
    def test_has_a_docstring_and_the_common_signature(self, name):
        assert metric(name).__doc__
        assert metric(name).__code__.co_varnames[:3] == ("labels", "scores", "weights")

    def test_is_the_same_in_any_row_order(self, name):
        labels, scores, weights = sample()
        order = np.random.default_rng(1).permutation(len(labels))
        expected = numbers(metric(name)(labels, scores, weights))
        shuffled = numbers(metric(name)(labels[order], scores[order], weights[order]))
        np.testing.assert_allclose(shuffled, expected, rtol=0, atol=1e-12)

    def test_a_weight_of_k_is_the_row_k_times(self, name):
        labels, scores, weights = sample()
        repeated = numbers(metric(name)(np.repeat(labels, weights), np.repeat(scores, weights)))
        np.testing.assert_allclose(
            numbers(metric(name)(labels, scores, weights)), repeated, rtol=0, atol=1e-9
        )

    def test_depends_on_the_labels(self, name):
        labels, scores, _ = sample()
        result, other = numbers(metric(name)(labels, scores)), numbers(metric(name)(~labels, scores))
        assert result.shape != other.shape or not np.allclose(result, other)

    def test_changes_none_of_its_arguments(self, name):
        arguments = [np.asarray(a, dtype=float) for a in sample()]
        before = [a.copy() for a in arguments]
        metric(name)(*arguments)
        for now, then in zip(arguments, before, strict=True):
            np.testing.assert_array_equal(now, then)

    @pytest.mark.parametrize("label", [0, 1])
    @pytest.mark.parametrize("n", [0, 1, 63])
    def test_one_class_or_no_rows_is_defined_or_nan_without_a_warning(self, name, n, label):
        result = numbers(metric(name)(np.full(n, label), np.linspace(0, 1, n)))
        assert np.all(np.isfinite(result) | np.isnan(result) | (result == np.inf))
        if n == 0:
            assert np.all(np.isnan(result))

    def test_refuses_arrays_of_different_lengths(self, name):
        with pytest.raises(ValueError, match="differ in length"):
            metric(name)([0, 1], [0.5])
