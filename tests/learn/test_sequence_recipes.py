"""Every tiny recipe of a sequence model: it trains, answers, is saved and read again, and sees no future."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from chartscan.artifact import Ensemble, load, save
from chartscan.commands.explain import ExplainPlan, run_explain
from chartscan.commands.forecast import ForecastJob, run_forecast
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.commands.predict import run_predict
from chartscan.commands.train import recipe_of, run_train
from chartscan.errors import ConfigError
from chartscan.evaluation import read_predictions
from chartscan.find import find, names
from chartscan.generate import Plan
from chartscan.labels.files import load_labels, save_labels
from chartscan.labels.making import make_labels
from chartscan.learn import networks
from chartscan.learn.networks import reads_tokens
from chartscan.learn.start import pretraining_of
from chartscan.prediction import log_odds
from chartscan.recipes import find_recipe, recipe_names
from chartscan.runs.job import of_subjects
from chartscan.schema import HELD_OUT
from chartscan.simulator import SimulateConfig, simulate
from chartscan.store.dataset import Dataset
from icu import Silent

TASKS = ("long_stay_7d", "readmission_30d")
TINY = [name for name in recipe_names() if name.endswith("-tiny") and reads_tokens(find_recipe(name))]

ATTENTION = {"attention"}
METHODS = {  # beside integrated gradients and occlusion
    "bilstm": set(),
    "cehr_bert": ATTENTION,
    "bigbird": ATTENTION,
    "ehrmamba": {"hidden attention", "hidden contributions"},
    "ehrmamba2": set(),
}
EXPLAINED_SERIES = {"hymate", "hymate_carried", "gru"}  # in test_explain.py


def quick(name: str) -> list[str]:
    """Settings that make a recipe a matter of seconds."""
    settings = ["model.d_model=32", "model.n_layers=1", "finetune.epochs=1", "reader.min_subjects=2"]
    if not name.startswith("ehrmamba"):
        settings.append("reader.context=256")
    return [*settings, "pretrain.epochs=1"] if find_recipe(name).pretrain else settings


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A simulated dataset with labels; models and predictions are put beside them."""
    root = tmp_path_factory.mktemp("recipes")
    simulate(root / "export", SimulateConfig(subjects=60, seed=1))
    dataset, _ = run_ingest(IngestPlan("fhir", root / "export", root / "data", [], []), Silent())
    save_labels(make_labels(dataset, list(TASKS), Silent()), root / "labels", as_folder=True)
    return root


def trained(made: Path, name: str) -> Path:
    """The model of a recipe, trained once."""
    if not (made / name).exists():
        run_train(name, made / "data", made / name, made / "labels", quick(name), Silent())
    return made / name


def last_stays(made: Path) -> pa.Table:
    """Of each held-out subject the last label."""
    table = of_subjects(
        load_labels(made / "labels")["long_stay_7d"][0], Dataset.open(made / "data").subject_ids(HELD_OUT)
    )
    order = table.sort_by([("subject_id", "ascending"), ("prediction_time", "ascending")])
    ids = order["subject_id"].to_numpy()
    return order.filter(pa.array(np.append(ids[1:] != ids[:-1], True)))


def answers(model, tables, labels: pa.Table) -> dict[str, np.ndarray]:
    return log_odds(model, lambda: tables, dict.fromkeys(model.tasks, labels))


def test_the_papers_baselines_have_a_tiny_recipe_and_one_of_the_papers_size():
    assert {"bilstm", "cehr-bert", "bigbird", "multibird", "ehrmamba"} <= {n[: -len("-tiny")] for n in TINY}
    for name in TINY:
        assert type(recipe_of(name.removesuffix("-tiny"), [])) is type(recipe_of(name, []))


@pytest.mark.parametrize("name", TINY)
def test_a_recipe_gives_a_model_that_answers_every_task_of_held_out_subjects(made, name):
    list(
        run_predict(
            trained(made, name), made / "data", made / "labels", made / f"p-{name}", HELD_OUT, 1, Silent()
        )
    )
    held_out = Dataset.open(made / "data").subject_ids(HELD_OUT)
    for task in TASKS:
        table = read_predictions(made / f"p-{name}" / f"{task}.parquet").table
        probability = table["predicted_boolean_probability"].to_numpy()
        assert ((probability > 0) & (probability < 1)).all()
        assert len(np.unique(probability)) > 1
        assert np.isin(table["subject_id"].to_numpy(), held_out).all()


@pytest.mark.parametrize("name", TINY)
def test_one_model_learns_all_tasks_or_each_has_its_own(made, name):
    recipe, found = recipe_of(name, quick(name)), load(trained(made, name))
    assert found.tasks == TASKS
    objective = pretraining_of(recipe.architecture)
    if recipe.together:
        kept = {"next_event": {"forecast"}, "masked_event": {"masked"}}
        assert set(found.network.heads) == {"head"} | kept.get(objective, set())
    else:
        assert isinstance(found, Ensemble)
        assert [member.tasks for member in found.members] == [(task,) for task in TASKS]
        assert set(found.run["tuning"]) == set(TASKS)
    phases = {name.split("/")[0] for name in found.run["curves"]}
    tuned = {"fine-tuning"} if recipe.together else {f"fine-tuning-{task}" for task in TASKS}
    assert phases == tuned | ({"pretraining"} if objective else set())


@pytest.mark.parametrize("name", TINY)
def test_a_model_saved_again_gives_the_same_answers(made, tmp_path, name):
    before = load(trained(made, name))
    save(tmp_path / "again", before)
    data = Dataset.open(made / "data")
    tables, labels = [data.read_shard(path) for path in data.shards()], last_stays(made)
    found, wanted = answers(load(tmp_path / "again"), tables, labels), answers(before, tables, labels)
    for task in TASKS:
        np.testing.assert_array_equal(found[task], wanted[task])


@pytest.mark.parametrize("name", TINY)
def test_its_answers_are_explained_event_by_event(made, name):
    out = made / f"why-{name}"
    plan = ExplainPlan(trained(made, name), made / "data", made / "labels", out, count=1)
    list(run_explain(plan, 1, Silent()))
    report = json.loads((out / "explain.json").read_text())
    assert set(report["tasks"]) == set(TASKS)
    table = pl.read_parquet(out / "attributions.parquet")
    own = METHODS[recipe_of(name, []).architecture]
    for task in TASKS:
        methods = report["tasks"][task]["methods"]
        assert set(methods) == {"integrated gradients", "occlusion"} | own
        assert methods["integrated gradients"]["completeness_gap"]["relative"] < 0.01
        sizes = table.filter(pl.col("task") == task).group_by("method").agg(pl.col("attribution").abs().sum())
        assert sizes["attribution"].min() > 0


def test_every_model_is_explained_here_or_among_the_models_of_series():
    series = {name for name in names("models") if find("models", name).Model.INPUT != "tokens"}
    assert {recipe_of(name, []).architecture for name in TINY} == set(METHODS)
    assert set(METHODS) | series == set(names("models"))
    assert series == EXPLAINED_SERIES


@pytest.mark.parametrize("name", TINY)
def test_nothing_after_the_prediction_time_changes_an_answer(made, name):
    data, labels, model = Dataset.open(made / "data"), last_stays(made), load(trained(made, name))
    tables = [data.read_shard(path) for path in data.shards()]
    times = pl.from_arrow(labels.select(["subject_id", "prediction_time"]).replace_schema_metadata())
    cut, dropped = [], 0
    for table in tables:
        rows = pl.from_arrow(table.select(["subject_id", "time", "available_time"]).replace_schema_metadata())
        rows = rows.join(times, on="subject_id", how="left", maintain_order="left")
        known = pl.coalesce("available_time", "time") <= pl.col("prediction_time")
        kept = rows.select(known.fill_null(True)).to_series().to_arrow()
        cut.append(table.filter(kept))
        dropped += table.num_rows - cut[-1].num_rows
    assert dropped > 100
    seen, whole = answers(model, cut, labels), answers(model, tables, labels)
    for task in TASKS:
        np.testing.assert_allclose(seen[task], whole[task], atol=1e-5)


def test_a_run_that_dies_between_two_tasks_goes_on_to_the_same_models(made, monkeypatch):
    name, calls, phase = "bigbird-tiny", [], networks.run_phase

    def dies(*arguments):
        calls.append(arguments[2])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return phase(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(networks, "run_phase", dies)
        with pytest.raises(KeyboardInterrupt):
            run_train(name, made / "data", made / "resumed", made / "labels", quick(name), Silent())
    assert calls == ["Pretraining", "Fine-tuning long_stay_7d", "Fine-tuning readmission_30d"]
    run_train(name, made / "data", made / "resumed", made / "labels", quick(name), Silent(), resume=True)
    for place in range(2):
        weights = f"member-{place}/weights.safetensors"
        assert (made / "resumed" / weights).read_bytes() == (trained(made, name) / weights).read_bytes()


@pytest.mark.parametrize("seed", [0, 2])
def test_dropout_and_masks_are_of_the_recipes_seed(made, tmp_path, monkeypatch, seed):
    seeds = []

    def stops(*arguments):
        seeds.append(arguments[5].seed)
        raise KeyboardInterrupt

    monkeypatch.setattr(networks, "run_phase", stops)
    settings = [*quick("bigbird-tiny"), "pretrain.seed=5", f"seed={seed}"]
    with pytest.raises(KeyboardInterrupt):
        run_train("bigbird-tiny", made / "data", tmp_path / "run", made / "labels", settings, Silent())
    assert seeds == [5 + seed]


def test_one_task_is_learned_by_one_model_that_starts_from_a_pretrained_body(made, tmp_path):
    settings = [s for s in quick("bigbird-tiny") if not s.startswith(("finetune", "pretrain"))]
    common = "bigbird-tiny", made / "data"
    body = [*settings, "pretrain.epochs=1", "finetune=null"]
    run_train(*common, tmp_path / "body", made / "labels", body, Silent())
    assert "masked" in load(tmp_path / "body").network.heads
    begun = [*settings, "finetune.epochs=1", "pretrain=null", f"start_from={tmp_path / 'body'}"]
    run_train(*common, tmp_path / "one", made / "labels" / "long_stay_7d.parquet", begun, Silent())
    found = load(tmp_path / "one")
    assert found.tasks == ("long_stay_7d",)
    otherwise = [*begun, "reader.task_token_placement=both", "reader.visit_tokens_attributed=true"]
    with pytest.raises(ConfigError, match=r'attributed=false, .*placement="end"'):
        run_train(*common, tmp_path / "wrong", made / "labels", otherwise, Silent())
    assert not (tmp_path / "wrong.work").exists()
    wrong = [*settings, f"start_from={trained(made, 'bigbird-tiny')}"]
    with pytest.raises(ConfigError, match="no single network"):
        run_train(*common, tmp_path / "wrong", made / "labels", wrong, Silent())
    assert not (tmp_path / "wrong.work").exists()


def test_a_task_that_cannot_be_learned_alone_is_left_out_and_told(made, tmp_path):
    labels = load_labels(made / "labels")
    table, counts = labels["long_stay_7d"]
    flat = table.set_column(
        table.column_names.index("boolean_value"),
        table.schema.field("boolean_value"),
        pa.array([False] * table.num_rows),
    )
    save_labels(labels | {"long_stay_7d": (flat, counts)}, tmp_path / "labels", as_folder=True)
    watcher = Silent()
    run_train(
        "bilstm-tiny", made / "data", tmp_path / "run", tmp_path / "labels", quick("bilstm-tiny"), watcher
    )
    assert load(tmp_path / "run").tasks == ("readmission_30d",)
    assert "warning: long_stay_7d: The train labels are all of one class. Not learned." in watcher.said


def test_a_scan_is_named_where_the_model_has_one(made):
    found = {name: load(trained(made, name)).run["kernels"] for name in ("ehrmamba-tiny", "ehrmamba2-tiny")}
    assert list(found["ehrmamba2-tiny"]) == ["matrix products"]
    assert set(found["ehrmamba-tiny"]) > {"matrix products"}


def test_tokens_are_counted_alike_however_they_weigh(made, tmp_path):
    settings = [*quick("ehrmamba-tiny"), "finetune=null", "next_visit_weight=30"]
    run_train("ehrmamba-tiny", made / "data", tmp_path / "run", made / "labels", settings, Silent())
    weighed, plain = (
        load(path).run["curves"]["pretraining/losses"]
        for path in (tmp_path / "run", trained(made, "ehrmamba-tiny"))
    )
    assert [row["tokens"] for row in weighed] == [row["tokens"] for row in plain]
    assert [row["loss"] for row in weighed] != [row["loss"] for row in plain]


@pytest.mark.parametrize("name", ["bigbird-tiny", "multibird-tiny"])
def test_models_that_read_whole_rows_do_not_forecast(made, tmp_path, name):
    job = ForecastJob(trained(made, name), made / "data", tmp_path / "f.parquet", Plan(events=1))
    with pytest.raises(ConfigError, match="cannot forecast"):
        list(run_forecast(job, Silent()))


def test_a_weight_of_pretraining_is_refused_where_there_is_none():
    with pytest.raises(ConfigError, match="pretrain is null"):
        recipe_of("ehrmamba-tiny", ["next_visit_weight=5", "pretrain=null"])


@pytest.mark.parametrize(
    ("name", "setting", "words"),
    [
        ("cehr-bert-tiny", "reader.context=257", "reader.context is 257 and model.context 256"),
        ("multibird", "model.context=1024", "reader.context is 2048 and model.context 1024"),
        ("bilstm-tiny", 'pretrain={"epochs":1}', "'bilstm' has no pretraining"),
        ("cehr-bert-tiny", "next_visit_weight=5", "does not predict the next visit"),
    ],
)
def test_settings_that_do_not_fit_a_model_are_refused(name, setting, words):
    with pytest.raises(ConfigError, match=words):
        recipe_of(name, [setting])
