"""Table 1: its rows, its figures against scikit-learn's, its tests against loops, and what it refuses."""

import msgspec
import numpy as np
import polars as pl
import pytest
from fake_trainer import FakeDataset, FakeTrainer, Quiet, labels_of
from sklearn.metrics import average_precision_score, roc_auc_score

from chartscan.commands.train import recipe_of
from chartscan.errors import ConfigError
from chartscan.evaluation import read_predictions
from chartscan.evaluation.compare import holm
from chartscan.evaluation.result import Difference, Estimate
from chartscan.learn.networks import reads_tokens
from chartscan.settings import with_settings
from chartscan_lab.study._cells import Place, StudyData, cells_of
from chartscan_lab.study._contest import Contest, contest, corrected
from chartscan_lab.study._rows import Facts
from chartscan_lab.study._task_tables import Scores
from chartscan_lab.study._trainer import RecipeTrainer
from chartscan_lab.study.table1 import STUDY

FACTS = Facts({"train": 700, "tuning": 150, "held_out": 150}, 1800)
TASKS = ("death", "stay")
METRICS = {"auroc": roc_auc_score, "average_precision": average_precision_score}
SEEDS, RESAMPLES = 3, 100


def names(study, facts=FACTS):
    return [row.name for row in study.rows(facts)]


class SkilledTrainer(FakeTrainer):
    """A fake whose networks are better than its trees, and better by prompts."""

    def resolve(self, recipe, settings):
        skill = {"xgboost": 0.3, "logistic": 0.3}.get(recipe, 2.5 if "together=true" in settings else 0.6)
        plain = [one for one in settings if one.startswith("seed=")]
        family = [] if recipe in ("xgboost", "logistic") else [f"family={recipe}"]
        return super().resolve(recipe, [*plain, f"skill={skill}", *family])


def place_at(folder, seeds=SEEDS, **changes):
    ids = FakeDataset().subject_ids()
    labels = {task: labels_of(ids, seed=k) for k, task in enumerate(TASKS)}
    trainer = changes.pop("trainer", None) or SkilledTrainer()
    data = StudyData(FakeDataset(), labels, trainer, changes.pop("truth", None))
    return Place(folder, Quiet(), seeds, replicates=RESAMPLES, data=data, **changes)


def small(**changes):
    recipes = ("xgboost", "logistic", "ehrmamba")
    return msgspec.structs.replace(STUDY, recipes=recipes, tested=("ehrmamba",), **changes)


def test_networks_are_fine_tuned_in_both_ways_and_multibird_is_bigbird_with_prompts():
    found = names(STUDY)
    for name in ("bilstm", "cehr-bert", "ehrmamba", "ehrmamba2"):
        assert {f"{name}, one task", f"{name}, prompted"} <= set(found)
    assert {"xgboost", "logistic", "hymate-paper", "bigbird, one task", "multibird, prompted"} <= set(found)
    assert not {"bigbird, prompted", "multibird, one task"} & set(found)
    for row in STUDY.rows(FACTS):
        recipe = recipe_of(row.recipe, list(row.settings))
        if ", " in row.name:
            assert recipe.together == row.name.endswith("prompted")


@pytest.mark.parametrize(("size", "ending"), [("tiny", "-tiny"), ("paper", "")])
def test_one_argument_gives_every_sequence_model_its_size(size, ending):
    study = with_settings(STUDY, [f"size={size}"])
    assert {row.recipe for row in study.rows(FACTS) if ", " in row.name} == {
        f"{name}{ending}" for name in ("bilstm", "cehr-bert", "bigbird", "multibird", "ehrmamba", "ehrmamba2")
    }


def test_settings_of_the_study_reach_every_recipe_that_has_them():
    study = with_settings(
        STUDY, ["pretrain_epochs=2", "finetune_epochs=3", "min_subjects=4", "tokens_per_batch=999"]
    )
    for row in study.rows(FACTS):
        recipe = recipe_of(row.recipe, list(row.settings))
        assert recipe.reader.min_subjects == 4
        if getattr(recipe, "pretrain", None):
            assert recipe.pretrain.epochs == 2
        if hasattr(recipe, "finetune"):
            assert recipe.finetune.epochs == 3
        assert not reads_tokens(recipe) or recipe.batch_size == 999


def test_bodies_of_bigbird_and_multibird_and_of_few_labels_are_one():
    trainer = RecipeTrainer(None, {}, Quiet())
    study = msgspec.structs.replace(STUDY, few=("multibird, prompted", "ehrmamba, one task"))
    bodies = {}
    for row in study.rows(FACTS):
        body = trainer.body_of(trainer.resolve(row.recipe, [*row.settings, "seed=1"]))
        assert row.shared_pretraining == (", " in row.name)
        if body and row.shared_pretraining:
            bodies.setdefault(body.architecture, set()).add(msgspec.json.encode(body))
    assert {name: len(found) for name, found in bodies.items()} == dict.fromkeys(
        ("cehr_bert", "bigbird", "ehrmamba", "ehrmamba2"), 1
    )


def test_rows_of_few_labels_are_those_named_as_far_as_there_are_labels():
    study = msgspec.structs.replace(STUDY, few=("xgboost", "ehrmamba, prompted"))
    few = [row for row in study.rows(FACTS) if row.name.endswith("labels")]
    assert [row.name for row in few] == [
        "xgboost, 250 labels", "xgboost, 1,000 labels",
        "ehrmamba, prompted, 250 labels", "ehrmamba, prompted, 1,000 labels",
    ]  # fmt: skip
    assert recipe_of(few[3].recipe, list(few[3].settings)).label_limit == 1000
    assert few[3].against == "xgboost, 1,000 labels"


def test_wrong_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="few: No row named 'ehrmamba'"):
        names(msgspec.structs.replace(STUDY, few=("ehrmamba",)))
    with pytest.raises(ConfigError, match=r"tested: .*Did you mean 'ehrmamba'"):
        names(msgspec.structs.replace(STUDY, tested=("ehrmamba3",)))
    with pytest.raises(ConfigError, match="Did you mean 'bilstm'"):
        names(msgspec.structs.replace(STUDY, recipes=("bilsm",), tested=()))
    with pytest.raises(ConfigError, match="size"):
        with_settings(STUDY, ["size=huge"])


def kept(place, study, row, task):
    """Answers (n,) by subject, and probabilities (seeds, n), as the cells of a row keep them."""
    cells = [cell for cell in cells_of(study.rows(place.data.facts), place) if cell.row.name == row]
    tables = [
        pl.from_arrow(read_predictions(cell.answers / f"{task}.parquet").table.replace_schema_metadata())
        for cell in cells
    ]
    tables = [table.sort("subject_id") for table in tables]
    said = [table["predicted_boolean_probability"].to_numpy().astype(float) for table in tables]
    return tables[0]["boolean_value"].to_numpy(), np.stack(said)


def ensemble(place, study, row, task):
    """Answers (n,), and the mean of the seeds' log odds (n,)."""
    y, p = kept(place, study, row, task)
    return y, np.log(p / (1 - p)).mean(0)


def share(y, mine, theirs, metric):
    """The p-value of being better, by a loop over resamples of patients, each with one row here."""
    if metric(y, mine) <= metric(y, theirs):
        return 1.0
    random, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        drawn = np.bincount(random.integers(0, len(y), len(y)), minlength=len(y))
        found.append(metric(y, mine, sample_weight=drawn) - metric(y, theirs, sample_weight=drawn))
    beyond = min(np.sum(np.array(found) <= 0), np.sum(np.array(found) >= 0))
    return min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A place, the small study finished in it, and its report."""
    place, study = place_at(tmp_path_factory.mktemp("table1")), small()
    return place, study, study.run(place)


def test_figures_equal_scikit_learns_of_the_answers_that_were_kept(finished):
    place, study, report = finished
    assert [task["task"] for task in report.values["tasks"]] == list(TASKS)
    for task in report.values["tasks"]:
        assert [row["name"] for row in task["rows"]] == names(study)
        for one in task["rows"]:
            y, p = kept(place, study, one["name"], task["task"])
            mean = ensemble(place, study, one["name"], task["task"])[1]
            for name, metric in METRICS.items():
                each = [metric(y, seed) for seed in p]
                assert one["spread"][name]["values"] == pytest.approx(each)
                assert one["spread"][name]["sd"] == pytest.approx(np.std(each, ddof=1))
                assert one["together"][name]["value"] == pytest.approx(metric(y, mean))


def table_after(text, heading):
    """Rows of the table below a heading, by first cell."""
    lines = text.split(f"## {heading}\n\n")[1].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_the_tables_show_the_figures_and_what_they_cost(finished):
    _, study, report = finished
    for name, title in (("auroc", "AUROC"), ("average_precision", "Average precision")):
        over_seeds = table_after(report.markdown, f"{title}, mean ± SD over seeds")
        together = table_after(report.markdown, f"{title}, ensemble of the seeds [95 %]")
        assert list(over_seeds) == list(together) == names(study)
        for task in report.values["tasks"]:
            for row in task["rows"]:
                spread, whole = row["spread"][name], row["together"][name]
                shown = over_seeds[row["name"]][task["task"]].removesuffix("*")
                assert shown == f"{spread['mean']:.3f} ± {spread['sd']:.3f}"
                interval = f"[{whole['low']:.3f}, {whole['high']:.3f}]"
                assert together[row["name"]][task["task"]] == f"{whole['value']:.3f} {interval}"
    costs = table_after(report.markdown, "AUROC, mean ± SD over seeds")["ehrmamba, prompted"]
    assert costs["pretraining, s per epoch"] == "3.0"
    assert costs["fine-tuning, s per epoch"] == "3.0"
    assert costs["parameters"] == "1,000"


def test_a_test_is_paired_by_patient_against_every_baseline_and_corrected_over_tasks(finished):
    place, study, report = finished
    shown = {(one["row"], one["metric"], one["task"]): one for one in report.values["tests"]}
    assert len(shown) == 2 * len(METRICS) * len(TASKS)
    row = "ehrmamba, prompted"
    for name, metric in METRICS.items():
        p = []
        for task in TASKS:
            y, mine = ensemble(place, study, row, task)
            theirs = {one: ensemble(place, study, one, task)[1] for one in ("xgboost", "logistic")}
            p.append(max(share(y, mine, other, metric) for other in theirs.values()))
            best = max(theirs, key=lambda one, y=y, of=theirs: metric(y, of[one]))
            one = shown[row, name, task]
            assert one["hardest"] == best
            assert one["difference"]["value"] == pytest.approx(metric(y, mine) - metric(y, theirs[best]))
            assert one["p"] == pytest.approx(p[-1])
        assert [shown[row, name, task]["p_holm"] for task in TASKS] == pytest.approx(holm(p))


def test_a_star_stands_where_the_corrected_test_finds_something_and_nowhere_else(finished):
    _, _, report = finished
    found = {
        (one["row"], one["task"]): one["p_holm"] for one in report.values["tests"] if one["metric"] == "auroc"
    }
    over_seeds = table_after(report.markdown, "AUROC, mean ± SD over seeds")
    starred = {
        (row, task) for row, cells in over_seeds.items() for task in TASKS if cells[task].endswith("*")
    }
    assert starred == {which for which, p in found.items() if p < 0.05}
    assert starred


def test_it_is_the_corrected_p_that_gives_a_star():
    def one(task, p, p_holm):
        return Contest("net", task, "auroc", ["a"], "a", Estimate(0.1, 0.0, 0.2), p, p_holm)

    scores = Scores([], [one("x", 0.02, 0.04), one("y", 0.03, 0.06), one("z", None, None)])
    assert [scores.better("net", task, "auroc") for task in "xyz"] == [True, False, False]
    assert not scores.better("net", "x", "average_precision")
    assert not scores.better("other", "x", "auroc")


def test_to_be_better_than_the_best_is_to_be_better_than_each():
    def to(baseline, value, p):
        return Difference("net", baseline, "auroc", Estimate(value, value - 0.1, value + 0.1), p)

    found = contest("death", [to("a", 0.2, 0.01), to("b", 0.1, 0.03), to("c", 0.3, 0.04)])
    assert (found.hardest, found.p, found.difference.value) == ("b", 0.04, 0.1)
    assert contest("death", [to("a", 0.2, 0.01), to("b", -0.1, 0.01)]).p == 1
    assert contest("death", [to("a", 0.2, 0.01), to("b", 0.1, None)]).p is None


def test_every_row_and_metric_is_corrected_by_itself():
    def one(row, task, metric, p):
        return Contest(row, task, metric, ["a"], "a", Estimate(0.1, 0.0, 0.2), p)

    given = [
        one("net", "x", "auroc", 0.01),
        one("net", "x", "average_precision", 0.02),
        one("net", "y", "auroc", 0.03),
        one("other", "x", "auroc", 0.04),
        one("net", "z", "auroc", None),
    ]
    assert [found.p_holm for found in corrected(given)] == [0.02, 0.02, 0.03, 0.04, None]


def test_tests_wait_until_all_rows_have_all_seeds(tmp_path):
    report = small().run(place_at(tmp_path, only=["xgboost", "ehrmamba, prompted"]))
    assert report.values["tests"] == []
    assert (
        "*" not in table_after(report.markdown, "AUROC, mean ± SD over seeds")["ehrmamba, prompted"]["death"]
    )
    assert "they wait" in report.markdown
    assert "logistic; ehrmamba, one task." in report.markdown


def without_times(values):
    """The values of a report without how long its cells took."""
    rows = [row | {"training_seconds": None} for task in values["tasks"] for row in task["rows"]]
    return values | {"tasks": rows}


def test_an_interrupted_table_goes_on_and_is_the_same_as_one_in_one_go(tmp_path, finished):
    broken = place_at(tmp_path, trainer=SkilledTrainer(stop_at=5))
    with pytest.raises(KeyboardInterrupt):
        small().run(broken)
    place = place_at(tmp_path, resume=True)
    report = small().run(place)
    assert place.data.trainer.resumed[0]
    assert not any(place.data.trainer.resumed[1:])
    assert without_times(report.values) == without_times(finished[2].values)
