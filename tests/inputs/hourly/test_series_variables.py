"""What is learned of variables: from train values alone, in any order, and saved whole."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from chartscan.errors import ConfigError, DataError
from chartscan.inputs.hourly import SeriesConfig, Variables
from chartscan.inputs.hourly.variables import RANGES
from series_events import CODES, SMALL, VARIABLES, event, static, table, training_rows


def fit(rows, **settings):
    return Variables.fit([table(rows)], msgspec.structs.replace(SMALL, **settings))


def test_moments_and_quantiles_are_those_of_the_clipped_values():
    values = np.arange(1000.0)
    found = fit([event(i, 1.0, "X", v) for i, v in enumerate(values)], clip=(0.1, 0.9)).variables[0]
    clipped = np.clip(values, *np.quantile(values, [0.1, 0.9]))
    assert (found.mean, found.std) == pytest.approx((clipped.mean(), clipped.std()))
    assert found.quantiles == pytest.approx(np.quantile(clipped, np.linspace(0, 1, 65)))
    assert (found.subjects, found.values) == (1000, 1000)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), cut=st.integers(0, 12))
def test_the_order_of_rows_and_shards_changes_nothing(seed, cut):
    rows = training_rows()
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    parts = [r for r in shuffled if r["subject_id"] <= cut], [r for r in shuffled if r["subject_id"] > cut]
    assert Variables.fit([table(p) for p in parts], SMALL).hash == VARIABLES.hash


def test_a_value_outside_its_range_is_left_out_and_counted():
    code = "PHYSIONET2012//pH"
    rows = [event(i, 1.0, code, v) for i, v in enumerate([7.3, 7.4, 735.0, -1.0, 6.5, 8.0])]
    found = fit(rows).variables[0]
    assert (found.values, found.outside) == (4, 2)
    assert found.quantiles[0] >= 6.5
    assert found.quantiles[-1] <= 8
    assert fit(rows, ranges=False).variables[0].outside == 0


def test_a_pressure_of_zero_is_none_and_urine_of_zero_is_one():
    low, _ = RANGES["PHYSIONET2012//MAP"]
    assert low > 0
    assert RANGES["PHYSIONET2012//Urine"][0] == 0


def test_a_rare_code_is_no_variable():
    rows = training_rows() + [event(s, 1.0, "X//rare", 1.0) for s in (1, 1, 1, 2)]
    assert fit(rows, min_subjects=3).names == CODES
    assert fit(rows, min_subjects=2).names == (*CODES, "X//rare")


def test_outcomes_births_and_rows_without_numbers_are_never_variables():
    rows = training_rows()
    rows += [event(s, 1.0, "Y", 1.0, kind=kind) for s in (1, 2) for kind in ("outcome", "birth", "death")]
    rows += [event(s, 1.0, "Y", value) for s in (1, 2) for value in (None, np.nan, np.inf)]
    assert fit(rows).names == CODES


def test_two_units_of_one_code_are_two_variables():
    rows = [
        event(s, 1.0, "X", v, unit=u) for s, v, u in [(1, 5.0, "mmol/l"), (2, 90.0, "mg/dl"), (3, 1.0, None)]
    ]
    assert fit(rows).names == ("X", "X [mg/dl]", "X [mmol/l]")


def test_z_scores_have_the_train_mean_and_sd():
    numbers, values = np.array([1, 2, 3, 1]), np.array([80, 7.4, 0.1, 1e9], dtype=np.float32)
    v = [VARIABLES.variables[i - 1] for i in numbers]
    clipped = [min(max(float(x), a.low), a.high) for x, a in zip(values, v, strict=True)]
    expected = [(x - a.mean) / a.std for x, a in zip(clipped, v, strict=True)]
    np.testing.assert_allclose(VARIABLES.scaled(numbers, values), expected, rtol=1e-5)


def test_rank_gauss_is_normal_and_rises_with_the_value():
    values = np.random.default_rng(0).exponential(size=5000)
    found = fit([event(i, 1.0, "X", v) for i, v in enumerate(values)], scaling="rank_gauss")
    x = np.sort(values)
    scaled = found.scaled(np.ones(len(x), dtype=int), x)
    assert (np.diff(scaled) >= 0).all()
    expected = norm.ppf((np.arange(len(x)) + 0.5) / len(x))
    middle = slice(250, -250)
    np.testing.assert_allclose(scaled[middle], expected[middle], atol=0.06)


def test_rank_gauss_gives_a_frequent_value_its_middle_rank():
    values = [1.0] * 50 + [2.0] * 50
    found = fit([event(i, 1.0, "X", v) for i, v in enumerate(values)], scaling="rank_gauss")
    low, high = found.scaled(np.array([1, 1]), np.array([1.0, 2.0]))
    assert low == pytest.approx(-high, abs=0.05)
    assert high == pytest.approx(norm.ppf(0.75), abs=0.05)


def test_a_variable_of_one_value_scales_to_zero():
    for scaling in ("zscore", "rank_gauss"):
        found = fit([event(i, 1.0, "X", 1.0) for i in range(20)], scaling=scaling)
        assert found.scaled(np.array([1, 1]), np.array([1.0, 5.0])).tolist() == [0, 0]


def test_no_values_scale_to_none():
    assert VARIABLES.scaled(np.zeros(0, dtype=int), np.zeros(0)).shape == (0,)


def test_static_facts_are_scaled_and_flagged_where_missing():
    names = ["PHYSIONET2012//Age", "GENDER//F", "GENDER//M"]
    assert list(VARIABLES.fact_names) == names
    age = VARIABLES.numeric_facts[0]
    facts = np.stack([VARIABLES.facts_of([names[0], names[2]], [50.0, None]), VARIABLES.facts_of([], [])])
    np.testing.assert_array_equal(facts, [[50, 0, 1], [np.nan] * 3])
    scaled = (50 - age.mean) / age.std
    np.testing.assert_allclose(
        VARIABLES.inputs_of_statics(facts), [[scaled, 0, 0, 1, 0], [0, 1, 0, 0, 1]], rtol=1e-5
    )
    assert VARIABLES.static_names[1] == "PHYSIONET2012//Age//missing"
    assert VARIABLES.n_statics == 5


def test_a_level_never_seen_and_a_number_out_of_range_are_missing():
    facts = VARIABLES.facts_of(["GENDER//OTHER", "PHYSIONET2012//Age"], [None, -1.0])
    assert np.isnan(facts).all()


def test_a_dataset_without_static_facts_has_none():
    found = fit([event(1, 1.0, "X", 1.0)])
    assert found.n_statics == 0
    assert found.inputs_of_statics(np.zeros((3, 0))).shape == (3, 0)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    VARIABLES.save(tmp_path / "variables.json")
    assert Variables.load(tmp_path / "variables.json") == VARIABLES
    assert Variables.load(tmp_path / "variables.json").hash == VARIABLES.hash


@pytest.mark.parametrize(
    "damage", [(b'"mean"', b'"meen"'), (b"X//plain", b"A//plain"), (b'"std": ', b'"std": -')]
)
def test_a_changed_file_is_refused(tmp_path, damage):
    path = tmp_path / "variables.json"
    VARIABLES.save(path)
    path.write_bytes(path.read_bytes().replace(*damage))
    with pytest.raises(DataError, match=r"variables\.json"):
        Variables.load(path)


def test_a_dataset_without_numbers_is_refused():
    for rows in ([], [static(1, "GENDER//F")]):
        with pytest.raises(DataError, match="No variable"):
            fit(rows)
    with pytest.raises(DataError, match="No variable"):
        Variables.fit([], SMALL)


def test_settings_out_of_range_are_refused():
    for wrong in ({"clip": (0.9, 0.1)}, {"window_hours": 0}, {"max_events": 0}, {"min_subjects": 0}):
        with pytest.raises(ConfigError, match="reader"):
            SeriesConfig(**wrong)
