"""Dense features with missing values: what both tabular models make of them, and their settings."""

import msgspec
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from chartscan.errors import ConfigError, DataError
from chartscan.tabular import logistic, xgboost

SETTINGS = {
    "xgboost": (xgboost, xgboost.DEFAULT),
    "by leaf": (xgboost, xgboost.Config(max_leaves=8, max_depth=0, column_sample_by_node=0.5)),
    "log": (logistic, logistic.DEFAULT),
    "standard": (logistic, logistic.Config(scaling="standard", missing_flags=True)),
    "rank": (logistic, logistic.Config(scaling="rank", missing_flags=True)),
}


def sample(rows, seed=0, columns=9):
    """Features of any sign, a fifth missing, one column constant, one always missing, and their labels."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, columns)) * np.array([10.0**k for k in range(-2, columns - 2)]) + 3
    y = random.random(rows) < 1 / (1 + np.exp(-1.5 * (x[:, 2] - 3)))
    x[random.random(x.shape) < 0.2] = np.nan
    x[:, -2], x[:, -1] = 5.0, np.nan
    return x.astype(np.float32), y


@pytest.fixture(params=SETTINGS)
def setting(request):
    return SETTINGS[request.param]


@pytest.fixture
def fitted(setting):
    module, config = setting
    return module.fit(*sample(800), tuning=sample(300, 1), config=config)


def test_a_signal_is_learned_from_dense_features(fitted):
    x, y = sample(1000, 2)
    assert roc_auc_score(y, fitted.predict_proba(x)) > 0.72


def test_a_saved_model_of_dense_features_predicts_the_same_to_the_last_bit(setting, fitted, tmp_path):
    fitted.save(tmp_path / "model.json")
    again, x = setting[0].load(tmp_path / "model.json"), sample(63, 2)[0]
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))


def test_rows_are_predicted_one_by_one_as_together(fitted):
    x = sample(9, 2)[0]
    assert fitted.predict_proba(x[:0]).shape == (0,)
    alone = [fitted.predict_proba(x[i : i + 1])[0] for i in range(len(x))]
    np.testing.assert_allclose(alone, fitted.predict_proba(x), atol=1e-7)


def test_a_zero_is_a_value_and_not_missing(fitted):
    x = sample(63, 2)[0]
    zero, missing = x.copy(), x.copy()
    zero[:, 2], missing[:, 2] = 0.0, np.nan
    assert not np.allclose(fitted.predict_proba(zero), fitted.predict_proba(missing))


def test_a_row_that_misses_everything_is_answered(fitted):
    probability = fitted.predict_proba(np.full((1, 9), np.nan, np.float32))
    assert np.isfinite(probability).all()


@pytest.mark.parametrize("scaling", ["standard", "rank"])
def test_the_regression_equals_scikit_learn_on_columns_scaled_by_hand(scaling):
    x, y = sample(400)
    config = logistic.Config(scaling=scaling, missing_flags=True)
    found = logistic.fit(x, y, config=config).predict_proba(x)
    columns = []
    for column in x.T.astype(np.float64):
        present = ~np.isnan(column)
        if scaling == "rank" and present.any():
            knots = np.quantile(column[present], np.linspace(0, 1, 65))
            ranks = np.interp(column, knots, np.linspace(0, 1, 65)) if np.ptp(knots) else 0.5 + 0 * column
            column = norm.ppf(np.clip(ranks, 0.001, 0.999))
        mean, sd = (column[present].mean(), column[present].std()) if present.any() else (0, 1)
        columns.append(np.where(present, (column - mean) / (sd or 1), 0.0))
    flags = np.isnan(x[:, :-2]).astype(float)
    features = np.column_stack([*columns, (flags - flags.mean(0)) / flags.std(0)])
    reference = LogisticRegression(C=config.strength, max_iter=2000).fit(features, y)
    np.testing.assert_allclose(found, reference.predict_proba(features)[:, 1], atol=1e-3)


def test_ranks_do_not_change_with_a_monotone_change_of_units():
    x, y = sample(200)
    config = logistic.Config(scaling="rank")
    other = np.exp(x[:, :3].astype(np.float64) / 20)
    plain = logistic.fit(x[:, :3], y, config=config).predict_proba(x[:, :3])
    np.testing.assert_allclose(logistic.fit(other, y, config=config).predict_proba(other), plain, atol=5e-3)


def test_columns_that_miss_together_share_one_flag():
    x, y = sample(100)
    twice = np.hstack([x, x])
    config = logistic.Config(scaling="standard", missing_flags=True)
    once, again = (logistic.fit(m, y, config=config) for m in (x, twice))
    assert len(once.weights) == 9 + 7  # neither the constant column nor the empty one has a flag
    assert len(again.weights) == 18 + 7


def test_what_is_missing_can_be_the_signal():
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 2))
    y = random.random(600) < 0.5
    x[random.random(600) < np.where(y, 0.8, 0.2), 0] = np.nan
    auroc = {}
    for flags in (False, True):
        config = logistic.Config(scaling="standard", missing_flags=flags)
        auroc[flags] = roc_auc_score(y, logistic.fit(x, y, config=config).predict_proba(x))
    assert auroc[True] > 0.75 > 0.6 > auroc[False]


def test_the_default_settings_make_the_same_model_of_counts_as_ever():
    counts = csr_matrix(np.random.default_rng(0).poisson(1.0, (200, 5)).astype(np.float32))
    y = np.random.default_rng(1).random(200) < 0.4
    model = logistic.fit(counts, y)
    features = np.log1p(counts.toarray().astype(float))
    features /= features.std(axis=0)
    reference = LogisticRegression(C=0.01, max_iter=2000).fit(features, y)
    np.testing.assert_allclose(model.weights, reference.coef_[0], atol=1e-4)


def test_regressions_saved_before_there_were_dense_features_are_still_read(tmp_path):
    plain = {"fill": [0.0, 1.0], "scale": [1.0, 2.0], "weights": [0.5, -1.0], "intercept": 0.25}
    (tmp_path / "model.json").write_bytes(msgspec.json.encode(plain))
    found = logistic.load(tmp_path / "model.json").predict_proba(csr_matrix(np.array([[3.0, np.nan]])))
    expected = 0.25 + 0.5 * np.log(4) - np.log(2) / 2
    assert found[0] == pytest.approx(1 / (1 + np.exp(-expected)))


def test_settings_of_dense_features_are_refused_with_counts():
    counts, y = csr_matrix(np.eye(4)), np.array([True, False, True, False])
    for config in (logistic.Config(scaling="rank"), logistic.Config(missing_flags=True)):
        with pytest.raises(ConfigError, match="are for dense features"):
            logistic.fit(counts, y, config=config)


def test_trees_grown_by_leaf_have_at_most_that_many_leaves():
    x, y = sample(800)
    few = xgboost.fit(x, y, config=xgboost.Config(max_leaves=3, max_depth=0, trees=20, min_child_weight=0))
    assert max(tree.count("leaf=") for tree in few.booster.get_dump()) == 3


@pytest.mark.parametrize(
    "fields", [{"l1": 5.0}, {"min_gain": 5.0}, {"column_sample_by_node": 0.2}, {"max_bins": 3}]
)
def test_every_setting_of_the_trees_reaches_them(fields):
    x, y = sample(300)
    plain = xgboost.fit(x, y, config=xgboost.Config(trees=20)).predict_proba(x)
    changed = xgboost.fit(x, y, config=xgboost.Config(trees=20, **fields)).predict_proba(x)
    assert not np.array_equal(plain, changed)


@pytest.mark.parametrize(
    ("module", "fields", "name"),
    [
        (xgboost, {"max_leaves": 1}, "max_leaves"),
        (xgboost, {"max_depth": 0}, "max_depth"),
        (xgboost, {"column_sample_by_node": 0.0}, "column_sample_by_node"),
        (xgboost, {"l2": -1.0}, "l2"),
        (logistic, {"strengths": ()}, "strengths"),
        (logistic, {"strength": 0.0}, "strength"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(module, fields, name):
    with pytest.raises(ConfigError, match=rf"model\.{name}\."):
        module.Config(**fields)


@pytest.mark.parametrize(
    "harm", [{"scaling": 3}, {"quantiles": [[1.0], [2.0, 3.0]]}, {"flagged": "x"}, {"weights": None}]
)
def test_a_damaged_regression_is_refused(tmp_path, harm):
    path = tmp_path / "model.json"
    logistic.fit(*sample(100), config=logistic.Config(scaling="rank")).save(path)
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | harm))
    with pytest.raises(DataError, match="a saved logistic"):
        logistic.load(path)
