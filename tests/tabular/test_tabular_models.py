"""Both tabular models: what they learn, and that a saved model is the same model."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from chartscan.errors import DataError
from chartscan.tabular import logistic, xgboost

MODELS = [xgboost, logistic]
COLUMNS = 63


def sample(rows, seed):
    """Counts, two ages with gaps, and labels drawn from a logistic truth: (matrix, y, true risk)."""
    rng = np.random.default_rng(seed)
    counts = random_array((rows, COLUMNS - 1), density=0.15, rng=rng, data_sampler=_counts(rng)).toarray()
    ages = rng.uniform(0, 90, (rows, 1))
    risk = 1 / (
        1 + np.exp(-(1.5 * np.log1p(counts[:, 0]) - 1.2 * np.log1p(counts[:, 1]) + ages[:, 0] / 40 - 2))
    )
    y = rng.random(rows) < risk
    ages[rng.random((rows, 1)) < 0.05] = np.nan
    return csr_matrix(np.hstack([counts, ages]).astype(np.float32)), y, risk


def _counts(rng):
    return lambda size: rng.integers(1, 20, size)


@pytest.fixture(scope="module")
def data():
    return {
        name: sample(rows, seed)
        for seed, (name, rows) in enumerate([("train", 1500), ("tuning", 500), ("test", 1500)])
    }


@pytest.fixture(scope="module", params=MODELS, ids=lambda m: m.__name__.split(".")[-1])
def fitted(request, data):
    return request.param, request.param.fit(*data["train"][:2], tuning=data["tuning"][:2])


def test_a_planted_signal_is_learned_nearly_to_its_ceiling(fitted, data):
    matrix, y, risk = data["test"]
    found = roc_auc_score(y, fitted[1].predict_proba(matrix))
    ceiling = roc_auc_score(y, risk)
    assert found > 0.5 + 0.85 * (ceiling - 0.5)


def test_probabilities_are_calibrated_in_the_large(fitted, data):
    matrix, y, _ = data["test"]
    probability = fitted[1].predict_proba(matrix)
    assert probability.shape == y.shape
    assert 0 <= probability.min() <= probability.max() <= 1
    assert probability.mean() == pytest.approx(y.mean(), abs=0.03)


def test_labels_without_signal_stay_near_one_half(fitted, data):
    module, _ = fitted
    y = np.random.default_rng(9).random(1500) < 0.3
    tuning = np.random.default_rng(10).random(500) < 0.3
    model = module.fit(data["train"][0], y, tuning=(data["tuning"][0], tuning))
    held_out = np.random.default_rng(11).random(1500) < 0.3
    assert abs(roc_auc_score(held_out, model.predict_proba(data["test"][0])) - 0.5) < 0.06


def test_a_saved_model_predicts_the_same_to_the_last_bit(fitted, data, tmp_path):
    module, model = fitted
    model.save(tmp_path / "model.json")
    again = module.load(tmp_path / "model.json")
    matrix = data["test"][0]
    np.testing.assert_array_equal(again.predict_proba(matrix), model.predict_proba(matrix))
    assert (tmp_path / "model.json").read_bytes().startswith(b"{")


def test_the_same_seed_gives_the_same_model_for_every_number_of_threads(fitted, data):
    module, model = fitted
    again = module.fit(*data["train"][:2], tuning=data["tuning"][:2], threads=2)
    np.testing.assert_allclose(
        again.predict_proba(data["test"][0]), model.predict_proba(data["test"][0]), atol=1e-6
    )


def test_a_model_without_tuning_rows_is_fitted_too(fitted, data):
    module, _ = fitted
    empty = (data["tuning"][0][:0], data["tuning"][1][:0])
    plain, with_none = module.fit(*data["train"][:2]), module.fit(*data["train"][:2], tuning=empty)
    matrix, y, _ = data["test"]
    np.testing.assert_array_equal(plain.predict_proba(matrix), with_none.predict_proba(matrix))
    assert roc_auc_score(y, plain.predict_proba(matrix)) > 0.7


def test_zero_and_one_rows_can_be_predicted(fitted, data):
    _, model = fitted
    matrix = data["test"][0]
    assert model.predict_proba(matrix[:0]).shape == (0,)
    assert model.predict_proba(matrix[:1])[0] == pytest.approx(model.predict_proba(matrix)[0], abs=1e-7)


def test_what_cannot_be_fitted_or_predicted_is_refused(fitted, data, tmp_path):
    module, model = fitted
    matrix, y, _ = data["train"]
    with pytest.raises(DataError, match="one class"):
        module.fit(matrix, np.zeros_like(y))
    with pytest.raises(DataError, match="one label per row"):
        module.fit(matrix, y[1:])
    with pytest.raises(DataError, match="63 feature columns, found 5"):
        model.predict_proba(matrix[:, :5])
    (tmp_path / "other.json").write_text('{"weights": 3}')
    for path in (tmp_path / "other.json", tmp_path / "absent.json"):
        with pytest.raises(DataError, match="a saved"):
            module.load(path)


def test_early_stopping_keeps_the_trees_up_to_the_best_one(data):
    few = xgboost.fit(*data["train"][:2], tuning=data["tuning"][:2])
    assert 5 < few.trees < xgboost.DEFAULT.max_trees - xgboost.DEFAULT.patience


def test_without_patience_there_are_as_many_trees_as_asked_and_tuning_changes_nothing(data):
    config = xgboost.Config(trees=63, patience=None)
    with_tuning = xgboost.fit(*data["train"][:2], tuning=data["tuning"][:2], config=config)
    without = xgboost.fit(*data["train"][:2], config=config)
    assert with_tuning.trees == without.trees == 63
    matrix = data["test"][0]
    np.testing.assert_array_equal(with_tuning.predict_proba(matrix), without.predict_proba(matrix))


def test_trees_see_an_interaction_that_the_regression_cannot():
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 2, (3000, 10)).astype(np.float32)
    y = (counts[:, 0] != counts[:, 1]) ^ (rng.random(3000) < 0.1)
    train, test = slice(0, 1500), slice(1500, 3000)
    auroc = {
        m: roc_auc_score(
            y[test], m.fit(csr_matrix(counts[train]), y[train]).predict_proba(csr_matrix(counts[test]))
        )
        for m in MODELS
    }
    assert auroc[xgboost] > 0.85
    assert auroc[logistic] < 0.6


def test_the_regression_equals_scikit_learn_on_the_dense_matrix(data):
    matrix, y, _ = data["train"]
    full = matrix.toarray().astype(np.float64)
    full[np.isnan(full)] = np.nanmean(full[:, -1])
    features = np.log1p(full)
    features /= features.std(axis=0)
    reference = LogisticRegression(C=logistic.DEFAULT.strength, max_iter=2000).fit(features, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = logistic.fit(matrix, y).predict_proba(matrix)
    np.testing.assert_allclose(found, reference.predict_proba(features)[:, 1], atol=2e-3)
