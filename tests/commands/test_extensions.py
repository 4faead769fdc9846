"""A source, a task, a model, an objective and a metric of the user go from raw files to the report.

The files are the examples of docs/extend-*.md.
"""

import inspect
import json
import re
import shutil
import sys
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import chartscan as api
from chartscan import artifact, cli, files, find
from chartscan.commands import demo
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.commands.train import recipe_of
from chartscan.errors import ChartscanError, ConfigError, DataError
from chartscan.labels import tasks as made
from chartscan.models import gru
from chartscan.objectives import prompted
from chartscan.recipes import find_recipe, know, recipe_names
from chartscan.runs.job import Job
from chartscan.runs.work import identity
from chartscan.store.dataset import Dataset
from family_artifacts import sequence_artifact
from icu import Silent
from test_main_job import chartscan

DOCS = Path(__file__).parent.parent.parent / "docs"
BUDGET = ["--store", "error_budget=0.01"]
QUICK = ["--set", "finetune.epochs=2", "--set", "model.d_model=8"]


def examples(page: str) -> list[str]:
    """The Python files of a page."""
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """What one test makes known, no other knows."""
    monkeypatch.setattr(find, "_OUTSIDE", dict(find._OUTSIDE))


def written(folder: Path) -> Path:
    """The files of the user."""
    model, tabular = examples("extend-model.md")
    files = {
        "visits_csv.py": examples("extend-source.md")[0],
        "contact_7d.py": examples("extend-task.md")[0],
        "bag_of_events.py": model,
        "naive_bayes.py": tabular,
        "focal.py": examples("extend-objective.md")[0],
        "log_loss.py": examples("extend-metric.md")[0],
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def mine(tmp_path) -> Path:
    """A folder with the files of the user."""
    return written(tmp_path)


def export(folder: Path, patients: int = 120) -> Path:
    """Two stays of each patient as CSV; the second follows soon where lactate was high."""
    random = np.random.default_rng(0)
    lines = []
    for patient in range(patients):
        high = bool(random.integers(2))
        begin = datetime(2024, 1, 1) + timedelta(days=int(random.integers(100)))
        for stay, gap in ((1, 0), (2, 5 if high else 40)):
            start = begin + timedelta(days=gap)
            for hours, event, value in (
                (0, "admission", ""),
                (6, "lactate", round(random.normal(6 if high and stay == 1 else 2, 0.3), 2)),
                (48, "discharge", ""),
            ):
                at = (start + timedelta(hours=hours)).isoformat()
                lines.append(f"{patient},{patient}-{stay},{at},{event},{value}\n")
    folder.mkdir()
    middle = len(lines) // 2
    for number, part in enumerate((lines[:middle], lines[middle:])):
        (folder / f"{number}.csv").write_text("patient,stay,time,event,value\n" + "".join(part))
    return folder


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    """Files of the user, and what they made on the command line, up to a trained model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "_OUTSIDE", {})
        return trained(written(tmp_path_factory.mktemp("extensions")))


def trained(folder: Path) -> Path:
    with (export(folder / "export") / "0.csv").open("a") as file:
        file.write("17,17-1,yesterday,lactate,high\n")
    source, task, model = (folder / name for name in ("visits_csv.py", "contact_7d.py", "bag_of_events.py"))
    chartscan("ingest", source, folder / "export", folder / "data", "--follow-up-days", 30, *BUDGET, code=3)
    chartscan("label", task, folder / "data", folder / "l.parquet")
    options = ("--data", folder / "data", "--labels", folder / "l.parquet", *QUICK, "--out")
    chartscan("train", model, *options, folder / "bag")
    return folder


def test_the_report_shows_each_extension(hospital):
    data, labels = hospital / "data", hospital / "l.parquet"
    model, objective = hospital / "bag_of_events.py", hospital / "focal.py"
    chartscan(
        *("train", model, "--objective", objective, "--set", "head.gamma=1", *QUICK),
        *("--data", data, "--labels", labels, "--out", hospital / "focal"),
    )
    chartscan(
        "train", hospital / "naive_bayes.py", "--data", data, "--labels", labels, "--out", hospital / "nb"
    )
    for name in ("bag", "focal", "nb"):
        known = ("--model", model, "--model", hospital / "naive_bayes.py", "--objective", objective)
        done = chartscan("predict", hospital / name, data, labels, hospital / f"{name}.parquet", *known)
        assert "do not say how they were made" not in done.stderr  # they do, though the task is a file
    chartscan(
        *("evaluate", hospital / "focal.parquet", "--against", hospital / "bag.parquet"),
        *("--against", hospital / "nb.parquet", "--data", data, "--model", hospital / "focal"),
        *("--metric", hospital / "log_loss.py", "--bootstrap", 20, "--out", hospital / "report"),
    )
    found = json.loads((hospital / "report" / "metrics.json").read_bytes())
    (task,) = found["tasks"]
    by_name = {one["model"]: one["estimates"] for one in task["models"]}
    assert list(by_name) == ["bag_of_events (focal)", "bag_of_events", "naive_bayes"]
    assert all(one["log_loss"]["low"] <= one["log_loss"]["high"] for one in by_name.values())
    assert by_name["naive_bayes"]["auroc"]["value"] > 0.9
    assert {one["baseline"] for one in task["differences"] if one["metric"] == "log_loss"} == {
        *("bag_of_events", "naive_bayes")
    }
    page = (hospital / "report" / "report.html").read_text()
    for text in (
        "Contact within 7 days",
        "bag_of_events (focal)",
        "Log loss",
        "V01 unreadable",
        "focal.py, SHA",
    ):
        assert text in page, text
    about = json.loads((hospital / "focal" / "model.json").read_bytes())
    assert (about["objective"], about["head_config"]) == ("focal", {"gamma": 1.0})


def test_a_network_of_ours_learns_with_an_objective_of_the_user(hospital, tmp_path):
    tiny = {"pretrain": None, "finetune.epochs": 1, "model.d_model": 8, "model.n_layers": 1, "head.gamma": 1}
    run = api.train(
        "ehrmamba-tiny",
        hospital / "data",
        tmp_path / "run",
        labels=hospital / "l.parquet",
        settings=tiny,
        objective=hospital / "focal.py",
    )
    network = api.load(run).network
    assert (type(network.answering).__name__, network.title) == ("Focal", "ehrmamba (focal)")
    with pytest.raises(ConfigError, match=r"--set head.dropout: no field 'dropout'"):
        recipe_of("ehrmamba-tiny", ["head.dropout=0.1"], hospital / "focal.py")


def test_the_account_of_lines_holds_for_a_source_of_the_user(hospital):
    manifest = json.loads((hospital / "data" / "manifest.json").read_bytes())
    rows = {row["file"]: row for row in manifest["accounting"]["lines"]}
    assert rows["0.csv"]["lines_in"] == 362
    assert rows["0.csv"]["quarantined"] == {"V01 unreadable": 1}
    assert rows["1.csv"]["accepted"] == 360
    assert manifest["settings"]["sources visits_csv"].startswith("visits_csv.py, SHA-256 ")


def test_a_trained_model_is_loaded_where_its_file_is_named_and_holds_no_code(hospital, monkeypatch):
    monkeypatch.setattr(find, "_OUTSIDE", {})
    message = "model 'bag_of_events' is not known here. Name its file with --model, or install the package"
    with pytest.raises(ConfigError, match=message):
        api.load(hospital / "bag")
    assert not list((hospital / "bag").rglob("*.py"))
    model = api.load(hospital / "bag", model=str(hospital / "bag_of_events.py"))
    assert (model.name, model.title) == ("bag_of_events", "bag_of_events")


def test_a_model_of_the_user_is_explained(hospital, tmp_path):
    chartscan(
        *("explain", hospital / "bag", hospital / "data", hospital / "l.parquet", "--count", 2),
        *("--model", hospital / "bag_of_events.py", "--out", tmp_path / "why"),
    )
    found = json.loads((tmp_path / "why" / "explain.json").read_bytes())
    assert found["model"] == "bag_of_events"


def test_a_model_without_an_embedding_is_not_explained(hospital, tmp_path):
    changed = tmp_path / "bag_of_events.py"
    changed.write_text((hospital / "bag_of_events.py").read_text().replace("self.embedding", "self.table"))
    run = api.train(
        changed,
        hospital / "data",
        tmp_path / "run",
        labels=hospital / "l.parquet",
        settings={"finetune.epochs": 1, "model.d_model": 8},
    )
    with pytest.raises(ConfigError, match=r"has no `embedding.codes`"):
        api.explain(run, hospital / "data", hospital / "l.parquet", tmp_path / "why")


def test_the_demonstration_shows_models_and_objectives_of_the_user(mine, monkeypatch):
    recipe = examples_recipe()
    (mine / "tiny_net.py").write_text((mine / "bag_of_events.py").read_text() + recipe)
    know([mine / "tiny_net.py"])
    monkeypatch.setattr(demo, "MODELS", ("tiny-net", "logistic"))  # quick ones
    monkeypatch.setattr(made, "task_names", lambda: ["readmission_30d"])
    report = demo.run_demo(
        mine / "out", 60, 0, 1, Silent(), models=[mine / "naive_bayes.py"], objectives=[mine / "focal.py"]
    )
    found = json.loads((report.parent / "metrics.json").read_bytes())
    names = [one["model"] for one in found["tasks"][0]["models"]]
    assert names == ["tiny_net", "logistic", "naive_bayes", "tiny_net (focal)"]
    assert all(one["estimates"]["auroc"]["low"] is not None for one in found["tasks"][0]["models"])
    assert {one["baseline"] for one in found["tasks"][0]["differences"]} == set(names[1:])


def examples_recipe() -> str:
    """The recipe of docs/extend-model.md, made small."""
    text = (DOCS / "extend-model.md").read_text().split("## How it is trained")[1]
    (recipe,) = re.findall(r"^```python no-run\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return "\n\n" + recipe.replace("d_model=64", "d_model=8").replace("epochs=10", "epochs=1")


def test_a_recipe_in_the_file_is_used_and_else_that_of_ours_which_reads_the_same(mine):
    like = find_recipe("ehrmamba-tiny")
    found = recipe_of(str(mine / "bag_of_events.py"), ["seed=3"])
    assert (found.reader, found.finetune, found.batch_size) == (like.reader, like.finetune, like.batch_size)
    assert (found.pretrain, found.seed, found.architecture) == (None, 3, "bag_of_events")
    assert isinstance(found.head, prompted.Config)
    (mine / "other.py").write_text((mine / "bag_of_events.py").read_text() + examples_recipe())
    assert recipe_of(str(mine / "other.py"), []).reader.context == 512
    assert {"bag-of-events", "other"} <= set(recipe_names())
    bayes = recipe_of(str(mine / "naive_bayes.py"), ["model.smoothing=2"])
    assert (bayes.name, bayes.model.smoothing, bayes.reader) == ("naive_bayes", 2.0, like.reader.__class__())


def test_a_model_of_time_series_is_trained_as_gru(tmp_path):
    text = inspect.getsource(gru)
    (tmp_path / "my_gru.py").write_text(text)
    found = recipe_of(str(tmp_path / "my_gru.py"), [])
    like = find_recipe("gru")
    assert (found.architecture, found.reader, found.head) == ("my_gru", like.reader, like.head)


def test_a_head_of_the_user_may_be_that_of_a_model(mine):
    text = (mine / "bag_of_events.py").read_text().replace('HEAD = "prompted"', 'HEAD = "focal"')
    (mine / "bag_of_events.py").write_text(text)
    know(objectives=[mine / "focal.py"])
    assert recipe_of(str(mine / "bag_of_events.py"), []).objective == "focal"


def test_an_ensemble_may_have_a_member_of_the_user(mine):
    member = json.dumps([{"recipe": str(mine / "bag_of_events.py")}])
    found = recipe_of("ehrmamba-seeds", [f"members={member}"])
    assert (found.name, found.members[0].recipe.architecture) == ("bag-of-events", "bag_of_events")


@pytest.mark.parametrize("recipe", ["xgboost", "ehrmamba-seeds"])
def test_an_objective_needs_a_single_network(mine, recipe):
    with pytest.raises(ConfigError, match=f"--objective .*focal.py: {recipe} "):
        recipe_of(recipe, [], mine / "focal.py")


def use(path: Path, folder: Path) -> None:
    """Uses a file as what it holds."""
    text = path.read_text()
    if "Focal" in text:
        recipe_of("ehrmamba-tiny", [], path)
    elif "schema" in text:
        run_ingest(IngestPlan(str(path), folder, folder / "data", [], []), Silent())
    else:
        recipe_of(str(path), [])


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("bag_of_events.py", "class Model(", "class Net(", "a model needs Model. .*extend-model.md"),
        ("bag_of_events.py", "class Config(", "class Settings(", "a model needs Config. Write: class"),
        ("bag_of_events.py", "    INPUT = ", "    READS = ", r"a model needs Model.INPUT\. Write: INPUT = "),
        ("bag_of_events.py", 'INPUT = "tokens"', 'INPUT = "notes"', "INPUT is 'notes'. Expected tokens"),
        ("bag_of_events.py", "    CAUSAL = False", "", r"a model of tokens needs Model.CAUSAL"),
        ("bag_of_events.py", 'HEAD = "prompted"', 'HEAD = "prompt"', "named 'prompt'. Did you mean"),
        ("bag_of_events.py", 'HEAD = "prompted"', 'HEAD = "probe"', "HEAD: 'probe' has no head"),
        ("bag_of_events.py", "d_model: int = 32", "d_model: int", r"Config needs a default for each setting"),
        ("bag_of_events.py", "import msgspec", "import msgspecc", r"line 3: ModuleNotFoundError"),
        ("naive_bayes.py", "def load(", "def read(", r"a tabular model needs load\. Write: def load"),
        ("focal.py", "def make(", "def build(", r"an? objective needs make\. .*See docs/extend-objective.md"),
        ("visits_csv.py", "def read(", "def load(", r"a source needs read\. Write: .*docs/extend-source.md"),
    ],
)  # fmt: skip
def test_a_file_that_lacks_a_name_is_refused_with_file_remedy_and_page(mine, name, old, new, message):
    text = (mine / name).read_text()
    assert old in text
    (mine / name).write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        use(mine / name, mine)
    assert name.removesuffix(".py") in str(caught.value)


def test_settings_from_another_module_are_refused(mine):
    for name in ("bag_of_events.py", "focal.py"):
        text = re.sub(r"class Config\(.*?\n\n\n", "", (mine / name).read_text(), count=1, flags=re.DOTALL)
        (mine / name).write_text(
            text.replace("import msgspec", "from chartscan.objectives.prompted import Config")
        )
    with pytest.raises(
        ConfigError, match=r"Config comes from chartscan.objectives.prompted. Define one here"
    ):
        know([mine / "bag_of_events.py"])
    with pytest.raises(ConfigError, match=r"focal.py: Config comes from"):
        recipe_of("ehrmamba-tiny", [], mine / "focal.py")


@pytest.mark.parametrize(
    ("name", "taken", "message"),
    [
        ("bag_of_events.py", "gru.py", "there is a recipe named 'gru' already. Rename the file"),
        ("bag_of_events.py", "cehr_bert.py", "there is a recipe named 'cehr-bert' already"),
        ("bag_of_events.py", "hymate_carried.py", "there is a model named 'hymate_carried' already"),
        ("bag_of_events.py", "7_events.py", "'7_events' can name no model"),
        ("focal.py", "prompted.py", "there is an objective named 'prompted' already"),
        ("visits_csv.py", "fhir.py", "there is a source named 'fhir' already"),
    ],
)
def test_a_name_of_ours_is_refused(mine, name, taken, message):
    path = (mine / name).rename(mine / taken)
    with pytest.raises(ConfigError, match=re.escape(f"{path}: {message}")):
        use(path, mine)


def test_a_file_that_is_not_there_or_named_twice_is_refused(mine):
    with pytest.raises(ConfigError, match=r"nothing.py: no such Python file. Name the .py file of a model"):
        recipe_of(str(mine / "nothing.py"), [])
    (mine / "again").mkdir()
    other = mine / "again" / "bag_of_events.py"
    other.write_text((mine / "bag_of_events.py").read_text())
    with pytest.raises(ConfigError, match="a model of the same name"):
        know([mine / "bag_of_events.py", other])
    with pytest.raises(ConfigError, match=r"A model of your own is named by its .py file. Did you mean 'ehr"):
        find_recipe("ehrmamba-tiy")


def test_a_file_is_executed_again_only_where_it_has_changed(mine):
    path = mine / "bag_of_events.py"
    know([path])
    first = find.find("models", "bag_of_events")
    know([path])
    assert find.find("models", "bag_of_events") is first
    path.write_text(path.read_text().replace("d_model: int = 32", "d_model: int = 16"))
    know([path])
    assert find_recipe("bag-of-events").model.d_model == 16
    path.write_text("Config = None")
    with pytest.raises(ConfigError):
        know([path])
    assert find_recipe("bag-of-events").model.d_model == 16


def test_a_run_is_resumed_only_with_the_same_file(mine, hospital):
    job = Job(Dataset.open(hospital / "data"), mine / "run", {}, Silent())
    before = identity(job, recipe_of(str(mine / "bag_of_events.py"), []))
    with (mine / "bag_of_events.py").open("a") as file:
        file.write("# other\n")
    after = identity(job, recipe_of(str(mine / "bag_of_events.py"), []))
    assert {name for name in before if before[name] != after[name]} == {"models bag_of_events"}


@pytest.fixture
def package(mine, monkeypatch):
    """An installed package that offers each kind."""
    monkeypatch.syspath_prepend(mine)
    (mine / "our_nets.py").write_text((mine / "bag_of_events.py").read_text() + examples_recipe())
    points = {
        "chartscan.models": [EntryPoint("our-net", "our_nets", "chartscan.models")],
        "chartscan.tabular": [EntryPoint("naive_bayes", "naive_bayes", "chartscan.tabular")],
        "chartscan.objectives": [EntryPoint("focal", "focal", "chartscan.objectives")],
        "chartscan.sources": [EntryPoint("visits-csv", "visits_csv", "chartscan.sources")],
    }
    monkeypatch.setattr(find, "entry_points", lambda group: points.get(group, []))
    yield points
    for name in ("our_nets", "naive_bayes", "focal", "visits_csv"):
        sys.modules.pop(name, None)


def test_extensions_of_an_installed_package_are_found_without_being_named(package, mine):
    assert {"our-net", "naive-bayes"} <= set(recipe_names())
    assert "our_nets" not in sys.modules
    recipe = find_recipe("our-net")
    assert (recipe.architecture, recipe.reader.context) == ("our_net", 512)
    assert find_recipe("naive_bayes").name == "naive_bayes"
    assert find.find("objectives", "focal").Config().gamma == 2
    export(mine / "export", patients=4)
    dataset, accounting = run_ingest(
        IngestPlan("visits-csv", mine / "export", mine / "data", [], []), Silent()
    )
    assert accounting.accepted == 24
    assert dataset.manifest["source"] == "visits_csv"
    said = CliRunner().invoke(cli.app, ["train", "--help"]).output
    assert "our-net" in said
    with pytest.raises(ConfigError, match="there is a model named 'our_net' already"):
        know([(mine / "bag_of_events.py").rename(mine / "our_net.py")])
    package["chartscan.models"][:] = [EntryPoint("gru", "our_nets", "chartscan.models")]
    with pytest.raises(ConfigError, match="a model named 'gru' already"):
        find.names("models")


def test_a_source_that_counts_no_line_publishes_nothing(mine):
    text = (mine / "visits_csv.py").read_text()
    silent = re.sub(r"writer\.accounting\.\w+\(", "(lambda *_: None)(", text)
    (mine / "visits_csv.py").write_text(silent)
    export(mine / "export", patients=4)
    with pytest.raises(DataError, match=r"visits_csv counted no line of .*See docs/extend-source.md"):
        api.ingest(mine / "visits_csv.py", mine / "export", mine / "data")
    assert not (mine / "data").exists()


def test_lines_that_a_source_loses_publish_nothing(mine):
    text = (mine / "visits_csv.py").read_text()
    lost = text.replace("writer.accounting.accept(file.name, LINE)", "")
    (mine / "visits_csv.py").write_text(lost)
    with pytest.raises(DataError, match="lost or counted twice"):
        api.ingest(mine / "visits_csv.py", export(mine / "export", patients=4), mine / "data")


def test_a_file_that_a_source_does_not_mention_is_a_warning(mine):
    folder = export(mine / "export", patients=4)
    (folder / "notes.txt").write_text("Mrs Smith")
    dataset = api.ingest(mine / "visits_csv.py", folder, mine / "data")
    (warning,) = dataset.manifest["accounting"]["warnings"]
    assert warning == "notes.txt: the source visits_csv does not account for it."
    with pytest.raises(DataError, match="1 warnings in a strict run"):
        api.ingest(mine / "visits_csv.py", folder, mine / "again", strict=True)


def test_an_error_in_a_file_of_the_user_names_its_line_and_no_content(mine):
    export(mine / "export", patients=4)
    path = mine / "visits_csv.py"
    path.write_text(
        path.read_text().replace("    at = datetime", '    raise KeyError("Mrs Smith")\n    at = datetime')
    )
    line = path.read_text().splitlines().index('    raise KeyError("Mrs Smith")') + 1
    done = chartscan("ingest", path, mine / "export", mine / "data", code=1)
    assert f"{path}, line {line}: unexpected KeyError" in done.stderr
    assert "Smith" not in done.stderr


@pytest.mark.parametrize("objective", ["next_event", "readouts", "focal"])
def test_a_forged_objective_is_refused(objective, tmp_path):
    artifact.save(tmp_path / "run", sequence_artifact())
    changed = about(tmp_path / "run") | {"objective": objective, "head_config": {}}
    with pytest.raises(ChartscanError, match=r"no objective of a head|does not fit|is not known here"):
        artifact.load(forged(tmp_path / "run", changed))


def test_an_artifact_that_names_no_objective_has_the_head_of_its_model(tmp_path):
    artifact.save(tmp_path / "run", sequence_artifact())
    before = {name: value for name, value in about(tmp_path / "run").items() if name != "objective"}
    assert artifact.load(forged(tmp_path / "run", before)).network.objective == "prompted"


def about(folder: Path) -> dict:
    """model.json of an artifact."""
    return json.loads((folder / "model.json").read_bytes())


def forged(folder: Path, description: dict) -> Path:
    """The artifact with another model.json, sealed again."""
    with files.sealed(folder.with_name("forged")) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(files.MANIFEST))
        (staging / "model.json").write_text(json.dumps(description))
    return folder.with_name("forged")
