"""Every study: its rows exist, and say what they are compared with."""

from pathlib import Path

import msgspec
import pytest

import chartscan_lab.study
from chartscan.commands.train import recipe_of
from chartscan.errors import ConfigError
from chartscan.models import hymate
from chartscan.settings import with_settings
from chartscan_lab.study._command import StudyPlan, find_study, run_study, study_names
from chartscan_lab.study._rows import Facts
from chartscan_lab.study._trained import TrainedStudy

FACTS = Facts({"train": 3200, "tuning": 800, "held_out": 4000}, 3200)
TRAINED = [name for name in study_names() if isinstance(find_study(name).STUDY, TrainedStudy)]


def test_the_studies_are_there():
    wanted = {"published", "ablations", "embeddings", "hours", "label-fractions", "learning-curve", "pooled"}
    assert set(study_names()) >= wanted | {"length", "attention", "table1"}


@pytest.mark.parametrize("name", study_names())
def test_a_study_says_what_it_is_and_takes_settings(name):
    study = find_study(name).STUDY
    assert study.TITLE
    assert study.SEEDS >= 1
    assert with_settings(study, []) == study
    assert msgspec.convert(msgspec.to_builtins(study), type(study)) == study


@pytest.mark.parametrize("name", TRAINED)
def test_rows_have_names_of_their_own_and_a_baseline_among_them(name):
    study = find_study(name).STUDY
    rows = study.rows(FACTS)
    names = [row.name for row in rows]
    assert len(set(names)) == len(names) > 0
    for row in rows:
        other = next(one for one in rows if one.name == (row.against or study.BASELINE))
        assert (other.pooled, other.train_subjects) == (row.pooled, row.train_subjects)


@pytest.mark.parametrize("name", TRAINED)
def test_every_row_names_a_recipe_and_settings_that_it_has(name):
    for row in find_study(name).STUDY.rows(FACTS):
        recipe = recipe_of(row.recipe, [*row.settings, "seed=3"])
        assert recipe.seed == 3


def test_rows_taught_by_tuning_stays_are_compared_with_trees_that_are_too():
    for name in ("published", "learning-curve", "pooled", "label-fractions"):
        for row in find_study(name).STUDY.rows(FACTS):
            refitted = getattr(recipe_of(row.recipe, list(row.settings)), "refit", False)
            assert refitted == (name == "published" and row.recipe == "hymate")
            assert not refitted or row.against == "xgboost-folds"


def test_more_mamba_has_about_the_parameters_of_the_whole_model():
    rows = {row.name: row for row in find_study("ablations").STUDY.rows(FACTS)}

    def size(name):
        config = recipe_of(rows[name].recipe, list(rows[name].settings)).model
        return sum(p.numel() for p in hymate.Model(config, 37, 9).parameters())

    assert size("without self-attention, more Mamba") == pytest.approx(size("whole model"), rel=0.03)
    assert size("without self-attention") < 0.8 * size("whole model")


def test_ways_to_combine_have_equal_sizes():
    sizes = []
    for row in find_study("embeddings").STUDY.rows(FACTS):
        config = recipe_of(row.recipe, list(row.settings)).model
        sizes.append(sum(p.numel() for p in hymate.Model(config, 37, 9).parameters()))
    assert max(sizes) < 1.02 * min(sizes)


def test_the_learning_curve_has_no_row_beyond_what_there_is():
    few = Facts({"train": 600, "tuning": 150, "held_out": 750}, 600)
    rows = find_study("learning-curve").STUDY.rows(few)
    assert {row.train_subjects for row in rows} == {500}


def test_label_fractions_are_numbers_of_labels():
    rows = find_study("label-fractions").STUDY.rows(FACTS)
    limits = [row.settings for row in rows if row.recipe == "hymate-paper"]
    assert limits[0] == ("label_limit=320",)
    assert limits[-1] == ()


def test_a_wrong_study_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"No study named 'ablation'\. Did you mean 'ablations'"):
        find_study("ablation")


def test_a_study_of_data_wants_data(tmp_path):
    with pytest.raises(ConfigError, match="give --data DATASET --labels L"):
        list(run_study(StudyPlan("published", tmp_path / "out"), watcher=None))


def test_helpers_of_studies_are_private():
    names = {name.replace("-", "_") for name in study_names()}
    package = Path(chartscan_lab.study.__file__).parent
    public = {path.stem for path in package.glob("*.py") if not path.stem.startswith("_")}
    assert public == names
