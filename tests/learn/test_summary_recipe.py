"""Tabular baselines on summary features, end to end on a small simulated intensive care unit."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from chartscan import artifact
from chartscan.prediction import log_odds, predict
from chartscan.recipes import find_recipe
from chartscan.tabular import xgboost
from icu import TASK, job, make_icu, train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_icu(tmp_path_factory.mktemp("icu") / "data")


@pytest.mark.parametrize("name", ["xgboost-summary", "logistic-summary"])
def test_a_signal_in_the_data_is_learned_and_answered(name, dataset, tmp_path):
    asked = job(dataset, tmp_path / "run")
    found = artifact.load(train(find_recipe(name), asked))
    labels = {TASK: asked.labels_of(TASK, "held_out")}
    answers = predict(found, lambda: asked.tables("held_out"), labels)[TASK]
    truth = labels[TASK]["boolean_value"].to_numpy(zero_copy_only=False)
    assert roc_auc_score(truth, answers["predicted_boolean_probability"].to_numpy()) > 0.8
    again = artifact.load(train(find_recipe(name), job(dataset, tmp_path / "again")))
    one, other = (log_odds(a, lambda: asked.tables("held_out"), labels)[TASK] for a in (found, again))
    np.testing.assert_array_equal(one, other)


def test_trees_tell_zero_from_missing():
    random = np.random.default_rng(0)
    value = random.choice([0.0, np.nan], 400)
    model = xgboost.fit(value[:, None], np.isnan(value), seed=0)
    assert (model.predict_proba(np.array([[0.0], [np.nan]])) > 0.5).tolist() == [False, True]
