"""Order tells what values alone do not: the reason why this hospital exists."""

from collections import defaultdict

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from chartscan.simulator.life import live
from chartscan.simulator.subject import DAY


@pytest.fixture(scope="module")
def stays():
    """Per stay discharged alive: values of each measure in order of time, and readmission within 30 days."""
    rows = []
    for index in range(1200):
        record = live(3, index)
        starts = [e.start for e in record.encounters if e.kind == "IMP"]
        for number, e in enumerate(record.encounters):
            if e.kind == "IMP" and e.disposition != "exp":
                values = defaultdict(list)
                for o in sorted(record.observations):
                    if o.encounter == number and o.status == "final":
                        values[o.measure].append(o.value)
                rows.append((values, any(e.end < s <= e.end + 30 * DAY for s in starts)))
    return rows


def auroc(stays, feature):
    """AUROC of a feature of the values for readmission."""
    return roc_auc_score([label for _, label in stays], [feature(values) for values, _ in stays])


@pytest.mark.parametrize(("measure", "sign"), [("bnp", 1), ("hemoglobin", -1)])
def test_change_within_the_stay_predicts_and_the_mean_does_not(stays, measure, sign):
    change = auroc(stays, lambda values: sign * (values[measure][-1] - values[measure][0]))
    mean = auroc(stays, lambda values: sign * np.mean(values[measure]))
    assert change > 0.62
    assert mean < 0.57


def test_a_rise_and_a_fall_hold_the_same_values(stays):
    rising = [v["bnp"] for v, _ in stays if v["bnp"][-1] > v["bnp"][0]]
    falling = [v["bnp"] for v, _ in stays if v["bnp"][-1] < v["bnp"][0]]
    quantiles = [
        np.quantile(np.log(np.concatenate(part)), [0.1, 0.3, 0.5, 0.7, 0.9]) for part in (rising, falling)
    ]
    assert np.abs(quantiles[0] - quantiles[1]).max() < 0.08
