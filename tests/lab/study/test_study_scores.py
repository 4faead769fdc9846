"""Numbers: equal to scikit-learn's, paired by patient, the two kinds of uncertainty apart."""

import json

import numpy as np
import pytest
from fake_trainer import FakeDataset, FakeTrainer, Quiet, labels_of
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from chartscan.errors import DataError
from chartscan.evaluation.bootstrap import Answers
from chartscan.evaluation.evaluation import Sampling, resample
from chartscan_lab.study._cells import Place, StudyData
from chartscan_lab.study._report import save
from chartscan_lab.study._rows import Row
from chartscan_lab.study._score import Answered, Repeat, ensemble, resampled, score
from chartscan_lab.study._trained import TrainedStudy

SAMPLING = Sampling(200, 0)


def repeat(seed, n=150, skill=1.0, first=0, labels=None):
    random = np.random.default_rng([seed, round(100 * skill)])
    y = np.random.default_rng(first).random(n) < 0.3 if labels is None else labels
    logits = skill * (2.0 * y - 1) + random.normal(0, 1.5, n)
    keys = np.stack([np.arange(n) + first, np.zeros(n, np.int64)], 1)
    return Repeat(seed, keys, Answers(y, 1 / (1 + np.exp(-logits)), None), {})


def row(name, repeats, pooled=False):
    return Answered(name, name, [], pooled, repeats)


def sklearn_metrics(said):
    return {
        "auroc": roc_auc_score(said.labels, said.probabilities),
        "average_precision": average_precision_score(said.labels, said.probabilities),
        "brier": brier_score_loss(said.labels, said.probabilities),
    }


def test_metrics_of_seeds_and_of_their_ensemble_equal_scikit_learn():
    repeats = [repeat(seed) for seed in range(3)]
    found = score(row("net", repeats), None, SAMPLING)
    logits = [np.log(r.answers.probabilities / (1 - r.answers.probabilities)) for r in repeats]
    mean = Answers(repeats[0].answers.labels, 1 / (1 + np.exp(-np.mean(logits, 0))), None)
    for name, expected in sklearn_metrics(mean).items():
        assert found.together[name].value == pytest.approx(expected, rel=1e-12)
        values = [sklearn_metrics(one.answers)[name] for one in repeats]
        assert found.spread[name].values == pytest.approx(values, rel=1e-12)
        assert found.spread[name].mean == pytest.approx(np.mean(values))
        assert found.spread[name].sd == pytest.approx(np.std(values, ddof=1))


def test_the_interval_of_one_set_is_that_of_the_report():
    one = repeat(0)
    mine, reports = resampled([one], SAMPLING), resample(one.keys, one.answers, SAMPLING)
    for name in ("auroc", "average_precision", "brier"):
        assert mine.estimate(name) == reports.estimate(name)


def test_a_difference_is_that_of_the_ensembles_and_surer_than_unpaired():
    net, trees = row("net", [repeat(0, skill=1.3), repeat(1, skill=1.3)]), row("trees", [repeat(0)])
    found = score(net, trees, SAMPLING)
    difference = next(one for one in found.differences if one.metric == "auroc")
    expected = sklearn_metrics(ensemble("net", net.repeats).answers)["auroc"]
    expected -= sklearn_metrics(trees.repeats[0].answers)["auroc"]
    assert difference.estimate.value == pytest.approx(expected)
    assert difference.estimate.low < difference.estimate.value < difference.estimate.high
    assert score(trees, trees, SAMPLING).differences == []


def test_a_model_is_no_better_than_itself():
    one = [repeat(0), repeat(1)]
    found = score(row("again", one), row("net", one), SAMPLING)
    for difference in found.differences:
        assert (difference.estimate.low, difference.estimate.value, difference.estimate.high) == (0, 0, 0)
        assert difference.p == 1


def test_one_seed_has_no_spread():
    assert score(row("net", [repeat(0)]), None, SAMPLING).spread["auroc"].sd is None


def test_over_splits_the_mean_is_resampled_by_patient():
    splits = [repeat(seed, first=first) for seed, first in ((0, 0), (1, 100), (2, 200))]
    found = score(row("net", splits, pooled=True), None, SAMPLING)
    values = [roc_auc_score(one.answers.labels, one.answers.probabilities) for one in splits]
    assert found.together["auroc"].value == pytest.approx(np.mean(values))
    assert found.together["auroc"].low < np.mean(values) < found.together["auroc"].high


def test_a_resample_of_splits_equals_a_loop_over_patients():
    splits = [repeat(seed, n=40, first=first) for seed, first in ((0, 0), (1, 20))]
    found = resampled(splits, Sampling(20, 5)).samples["auroc"]
    random = np.random.default_rng(5)
    for value in found:
        drawn = np.bincount(random.integers(0, 60, 60), minlength=60)
        each = [
            roc_auc_score(s.answers.labels, s.answers.probabilities, sample_weight=drawn[s.keys[:, 0]])
            for s in splits
        ]
        assert value == pytest.approx(np.mean(each))


def test_differences_over_splits_use_the_common_ones():
    mine = [repeat(seed, first=100 * seed, skill=1.5) for seed in range(3)]
    theirs = [repeat(seed, first=100 * seed) for seed in (0, 2)]
    found = score(row("net", mine, True), row("trees", theirs, True), SAMPLING)
    each = [
        sklearn_metrics(a.answers)["auroc"] - sklearn_metrics(b.answers)["auroc"]
        for a, b in zip([mine[0], mine[2]], theirs, strict=True)
    ]
    assert found.differences[0].estimate.value == pytest.approx(np.mean(each))


def test_seeds_asked_about_other_stays_are_refused():
    with pytest.raises(DataError, match="not asked about the same stays"):
        score(row("net", [repeat(0), repeat(1, first=5)]), None, SAMPLING)
    one = repeat(0)
    with pytest.raises(DataError, match="same stays and outcomes"):
        score(row("net", [one, repeat(1, labels=~one.answers.labels)]), None, SAMPLING)


class Tiny(TrainedStudy, frozen=True):
    TITLE = "Tiny"
    ABOUT = "Two rows."
    BASELINE = "trees"

    def rows(self, facts):
        assert facts.subjects == {"train": 60, "tuning": 20, "held_out": 60}
        assert facts.train_labels == 60
        return [
            Row(name="trees", recipe="trees"),
            Row(name="net", recipe="net", settings=("skill=3",)),
            Row(name="trees, pooled", recipe="trees", pooled=True, against="trees, pooled"),
            Row(name="net, pooled", recipe="net", pooled=True, against="trees, pooled"),
        ]


def place_at(folder, **changes):
    data = StudyData(FakeDataset(), {"death": labels_of(FakeDataset().subject_ids())}, FakeTrainer())
    return Place(out=folder, watcher=Quiet(), seeds=3, replicates=100, data=data, **changes)


def test_the_table_holds_every_row_with_spread_interval_difference_and_cost(tmp_path):
    report = Tiny().run(place_at(tmp_path))
    path = save(tmp_path, "tiny", report)
    text, values = path.read_text(), json.loads((tmp_path / "tiny.json").read_bytes())
    line = next(line for line in text.splitlines() if line.startswith("| net |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == "3"
    assert "±" in cells[2]
    assert cells[5].endswith("]")
    assert cells[8].startswith("+")
    assert cells[-2:] == ["3.0", "1,000"]
    assert "mean over splits" in text
    assert "bootstrap over 60 held-out patients (100 resamples)" in text
    net = next(one for one in values["rows"] if one["name"] == "net")
    assert len(net["spread"]["auroc"]["values"]) == 3
    assert net["baseline"] == "trees"
    for text_line in text.splitlines():
        if text_line.startswith("|"):
            assert text_line.count("|") == 13


def test_only_one_row_is_run_and_the_others_are_said_to_be_missing(tmp_path):
    place = place_at(tmp_path, only=["trees"])
    report = Tiny().run(place)
    assert len(place.data.trainer.trained) == 3
    assert "Not run yet: net, trees, pooled, net, pooled." in report.markdown
    assert [one["name"] for one in report.values["rows"]] == ["trees"]
