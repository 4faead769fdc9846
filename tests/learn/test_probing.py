"""`probe=true`: regressions on a pretrained model, beside scikit-learn's on the same states."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from chartscan.artifact import load
from chartscan.commands.explain import ExplainPlan, run_explain
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.commands.train import run_train
from chartscan.errors import ConfigError
from chartscan.generate.histories import forecaster
from chartscan.inputs.batches import TokenStore, collate, prompt_rows, samples_of
from chartscan.labels.files import load_labels, save_labels
from chartscan.labels.making import make_labels
from chartscan.objectives.probe import known
from chartscan.prediction import log_odds
from chartscan.runs.job import of_subjects
from chartscan.schema import HELD_OUT, TRAIN
from chartscan.simulator import SimulateConfig, simulate
from chartscan.store.dataset import Dataset
from icu import Silent

TASKS = ["long_stay_7d", "readmission_30d"]
SMALL = ["model.d_model=32", "model.n_layers=1", "reader.min_subjects=2", "pretrain.epochs=1"]
SETTINGS = {"ehrmamba-tiny": SMALL, "bigbird-tiny": SMALL}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A simulated dataset with labels; of each recipe a body, and a probe of it."""
    root = tmp_path_factory.mktemp("probe")
    simulate(root / "export", SimulateConfig(subjects=60, seed=1))
    dataset, _ = run_ingest(IngestPlan("fhir", root / "export", root / "data", [], []), Silent())
    save_labels(make_labels(dataset, TASKS, Silent()), root / "labels", as_folder=True)
    for name, settings in SETTINGS.items():
        body = root / f"{name}-body"
        train(root, name, body, [*settings, "finetune=null"])
        train(root, name, root / name, [*settings, "pretrain=null", "probe=true", f"start_from={body}"])
    return root


def train(root, name, out, settings):
    run_train(name, root / "data", out, root / "labels", settings, Silent())


def labels_of(made, task, split):
    table = load_labels(made / "labels")[task][0]
    return of_subjects(table, Dataset.open(made / "data").subject_ids(split))


def tables_of(made) -> list[pa.Table]:
    data = Dataset.open(made / "data")
    return [data.read_shard(path) for path in data.shards()]


@torch.no_grad()
def states(made, model, task, split) -> np.ndarray:
    """What the model knows at each label, one row at a time."""
    encoder = model.reader.encoder
    store = TokenStore.build([one for table in tables_of(made) for one in encoder.encode_shard(table)])
    samples = samples_of({task: labels_of(made, task, split)}, [task])
    rows = prompt_rows(store, samples, model.reader.vocabulary, [task], apart=True)
    found = np.zeros((len(samples.labels), 2 * model.network.model.width))
    for row, sample in enumerate(rows.questions.samples):
        found[sample] = known(model.network.model.eval(), collate(store, rows, np.array([row])))[0].numpy()
    return found


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("task", TASKS)
def test_answers_are_those_of_scikit_learns_regression_on_the_same_states(made, name, task):
    model = load(made / name)
    y = labels_of(made, task, TRAIN)["boolean_value"].to_numpy(zero_copy_only=False)
    train_states, asked = states(made, model, task, TRAIN), states(made, model, task, HELD_OUT)
    found = log_odds(model, lambda: tables_of(made), {task: labels_of(made, task, HELD_OUT)})[task]

    def expected(strength):
        regression = LogisticRegression(C=strength, max_iter=2000)
        return make_pipeline(StandardScaler(), regression).fit(train_states, y).decision_function(asked)

    strengths = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
    gaps = [np.abs(found - expected(strength)).max() for strength in strengths]
    nearest, second, *_ = sorted(gaps)  # one of the strengths is meant, and no other
    assert nearest < 0.01
    assert second > 5 * nearest


@pytest.mark.parametrize("name", SETTINGS)
def test_a_probed_model_is_the_one_it_started_from(made, name):
    body, probed = load(made / f"{name}-body"), load(made / name)
    assert (set(probed.network.heads) & {"head", "probe"}, probed.tasks) == ({"probe"}, tuple(TASKS))
    given = body.network.model.state_dict()
    for key, weights in probed.network.model.state_dict().items():
        torch.testing.assert_close(weights[: len(given[key])], given[key], rtol=0, atol=0)
    assert set(json.loads((made / name / "run.json").read_text())["tuning"]) == set(TASKS)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_probe_is_explained_without_attention_of_a_task_token(made, tmp_path, name):
    plan = ExplainPlan(made / name, made / "data", made / "labels", tmp_path / "why", count=1)
    list(run_explain(plan, 1, Silent()))
    report = json.loads((tmp_path / "why" / "explain.json").read_text())
    for task in TASKS:
        methods = report["tasks"][task]["methods"]
        assert set(methods) == {"integrated gradients", "occlusion"}
        assert methods["integrated gradients"]["completeness_gap"]["relative"] < 0.01


def test_a_probed_model_forecasts_as_the_one_it_started_from(made):
    data, watcher = Dataset.open(made / "data"), Silent()
    forecaster(made / "ehrmamba-tiny", data, 1, watcher, pretrained_only=True)
    assert not any("fine-tuned" in line for line in watcher.said)


def test_only_a_pretrained_model_is_probed_and_before_any_task_token(made, tmp_path):
    tuned = tmp_path / "tuned"
    start = ["pretrain=null", f"start_from={made / 'ehrmamba-tiny-body'}", *SMALL[:-1]]
    train(made, "ehrmamba-tiny", tuned, [*start, "finetune.epochs=1"])
    again = ["pretrain=null", f"start_from={tuned}", "probe=true", *SMALL[:-1]]
    with pytest.raises(ConfigError, match="was fine-tuned"):
        train(made, "ehrmamba-tiny", tmp_path / "x", again)
    both = [*SMALL, "probe=true", "reader.task_token_placement=both"]
    with pytest.raises(ConfigError, match="task_token_placement=end"):
        train(made, "ehrmamba-tiny", tmp_path / "x", both)


def test_random_weights_are_not_probed(made, tmp_path):
    with pytest.raises(ConfigError, match="start_from"):
        train(made, "ehrmamba-tiny", tmp_path / "x", ["pretrain=null", "probe=true"])
    with pytest.raises(ConfigError, match="start_from"):
        train(made, "bilstm-tiny", tmp_path / "x", ["probe=true"])
