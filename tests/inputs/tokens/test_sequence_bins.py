"""Numeric bins against numpy, and against everything that must not move them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import DataError
from chartscan.inputs.tokens import NumericBins, SequenceConfig, fit_bins
from chartscan.inputs.tokens.numeric import quantile_edges
from chartscan.inputs.tokens.visits import known_order
from token_events import HOUR, event, population, table

ONE = SequenceConfig(min_subjects=1)


def labs(values, unit="mg", code="LOINC//1", subjects=None):
    subjects = range(1, len(values) + 1) if subjects is None else subjects
    pairs = zip(values, subjects, strict=True)
    return [event("lab", HOUR, code, numeric_value=v, unit=unit, subject_id=s) for v, s in pairs]


def bins_of(bins, found):
    return bins.assign(known_order(table(found)))[1].tolist()


def test_bins_equal_numpy_quantiles_and_searchsorted():
    values = np.random.default_rng(1).normal(size=999).astype(np.float32)
    bins = fit_bins([table(labs(values.tolist()))], ONE)
    edges = np.quantile(values.astype(np.float64), [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_array_equal(bins.edges[0], edges)
    expected = np.searchsorted(edges, np.sort(values), side="right")
    found = bins_of(bins, labs(values.tolist(), subjects=[1] * len(values)))
    assert found == expected.tolist()
    assert np.bincount(found).tolist() == [200, 200, 199, 200, 200]


@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40),
    asked=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=2, max_size=10),
)
def test_every_finite_value_has_a_bin_and_bins_rise_with_values(values, asked):
    bins = fit_bins([table(labs(values))], ONE)
    used = bins_of(bins, labs(values, subjects=[1] * len(values)))
    assert 0 in used
    assert max(used) == len(bins.codes["LOINC//1"][0].edges)
    found = bins_of(bins, labs(sorted(asked), subjects=[1] * len(asked)))
    assert found == sorted(found)
    assert 0 <= min(found) <= max(found) < ONE.n_bins


def test_the_maximum_is_in_the_last_bin_and_equal_edges_are_merged():
    ten = [float(v) for v in range(1, 11)]
    assert bins_of(fit_bins([table(labs(ten))], ONE), labs(ten, subjects=[1] * 10)) == [
        0, 0, 1, 1, 2, 2, 3, 3, 4, 4,
    ]  # fmt: skip
    many = [1.0] * 5 + [2.0] * 3 + [3.0] * 2
    assert (
        bins_of(fit_bins([table(labs(many))], ONE), labs(many, subjects=[1] * 10))
        == [0] * 5 + [1] * 3 + [2] * 2
    )
    assert quantile_edges(np.array([4.0, 4.0, 4.0]), 5) == ()


def test_each_unit_has_its_own_bins_and_the_most_used_comes_first():
    rare, main = labs([1.0, 2.0], "g"), labs([100.0, 200.0, 300.0], "mg")
    bins = fit_bins([table(rare + main)], ONE)
    assert [unit.unit for unit in bins.codes["LOINC//1"]] == ["mg", "g"]
    assert bins.suffix(bins.group_ids["LOINC//1", "mg"], 2) == "Q3"
    assert bins.suffix(bins.group_ids["LOINC//1", "g"], 0) == "[g]//Q1"
    groups, _ = bins.assign(known_order(table(labs([1.0], unit="stone"))))
    assert groups.tolist() == [-1]


def test_a_code_and_unit_needs_enough_subjects():
    few = labs([1.0] * 9, subjects=[1, 2, 3] * 3)
    assert fit_bins([table(few)], SequenceConfig(min_subjects=4)).codes == {}
    kept = fit_bins([table(few)], SequenceConfig(min_subjects=3)).codes["LOINC//1"]
    assert (kept[0].subjects, kept[0].values) == (3, 9)


def test_values_that_are_no_numbers_are_left_out():
    odd = labs([1.0, float("nan"), float("inf"), None, 2.0])
    bins = fit_bins([table(odd)], ONE)
    assert bins.codes["LOINC//1"][0].values == 2
    groups, _ = bins.assign(known_order(table(odd)))
    assert groups.tolist() == [0, -1, -1, -1, 0]


@pytest.mark.parametrize("cap", [7, 100_000])
def test_bins_do_not_depend_on_the_order_of_rows_or_shards(cap):
    config = SequenceConfig(min_subjects=1, bin_sample=cap)
    whole = population(subjects=9, events=60)
    subject = np.asarray(whole["subject_id"])
    shards = [whole.filter(subject % 3 == k) for k in (2, 0, 1)]
    order = np.random.default_rng(3).permutation(whole.num_rows)
    expected = fit_bins([whole], config)
    assert expected.codes
    assert fit_bins(shards, config) == expected
    assert fit_bins([whole.take(order)], config) == expected


def test_a_sample_of_values_gives_nearly_the_same_edges():
    values = np.random.default_rng(2).normal(size=20_000).tolist()
    sampled = fit_bins([table(labs(values))], SequenceConfig(min_subjects=1, bin_sample=4_000))
    np.testing.assert_allclose(sampled.edges[0], np.quantile(values, [0.2, 0.4, 0.6, 0.8]), atol=0.06)


def test_bins_survive_saving(tmp_path):
    bins = fit_bins([population()], ONE)
    bins.save(tmp_path / "numeric.json")
    assert NumericBins.load(tmp_path / "numeric.json") == bins
    (tmp_path / "numeric.json").write_text('{"n_bins": "five"}')
    with pytest.raises(DataError, match="does not contain numeric bins"):
        NumericBins.load(tmp_path / "numeric.json")


def test_without_tables_there_are_no_bins():
    assert fit_bins([], ONE).codes == {}
    assert fit_bins([table([])], ONE).codes == {}
