import numpy as np

from chartscan.learn.calibration import LEAST_EVENTS, fit_calibration


def test_overconfident_answers_are_drawn_back():
    random = np.random.default_rng(0)
    truth = random.normal(size=20_000)
    labels = random.random(20_000) < 1 / (1 + np.exp(-truth))
    found = fit_calibration(["a"], np.zeros(20_000, int), labels.astype(float), 3 * truth + 1)["a"]
    assert abs(found.slope - 1 / 3) < 0.02
    assert abs(found.intercept + 1 / 3) < 0.04
    assert found.rows == 20_000


def test_a_task_with_few_events_stays_raw():
    labels = np.array([1.0] * (LEAST_EVENTS - 1) + [0.0] * 50)
    assert fit_calibration(["a"], np.zeros(len(labels), int), labels, np.linspace(0, 1, len(labels))) == {}


def test_each_task_is_calibrated_on_its_own_rows():
    random = np.random.default_rng(1)
    labels, tasks = (random.random(400) < 0.4).astype(float), np.repeat([0, 1], 200)
    logits = random.normal(size=400)
    both = fit_calibration(["a", "b"], tasks, labels, logits)
    changed = np.where(tasks == 1, -logits, logits)
    again = fit_calibration(["a", "b"], tasks, labels, changed)
    assert again["a"] == both["a"]
    assert again["b"] != both["b"]


def test_calibration_never_turns_the_ranking_round():
    random = np.random.default_rng(2)
    for _ in range(50):
        labels, logits = (random.random(60) < 0.3).astype(float), random.normal(size=60)
        found = fit_calibration(["a"], np.zeros(60, int), labels, logits)
        assert all(one.slope > 0 for one in found.values())
