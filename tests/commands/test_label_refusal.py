"""Tasks are refused where too many words that they depend on are unknown, and never answered "no"."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from chartscan.cli import app
from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.errors import ConfigError, DataError
from chartscan.labels.making import make_labels, stays_of, vocabulary_note
from chartscan.labels.tasks import task_modules
from chartscan.store.dataset import Dataset
from icu import Silent

HL7 = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
DEPENDS = {"in_hospital_mortality": ("class", "disposition"), "readmission_30d": ("class", "disposition")}
DEPENDS |= {
    "hypertension_1y": ("class", "disposition", "diagnosis_system", "diagnosis", "diagnosis_status"),
    "long_stay_7d": ("class",),
}


@pytest.fixture(autouse=True)
def _depending(monkeypatch):
    """What the built-in tasks depend on, whatever their files say."""
    for name, module in task_modules().items():
        monkeypatch.setattr(module, "DEPENDS_ON", DEPENDS.get(name, ("class",)), raising=False)


def write_export(folder, classes=("IMP",), dispositions=("home",), systems=(ICD10,), codes=("I10",)):
    """40 stays of 40 patients; the words are dealt out in turn, so that shares are exact."""
    folder.mkdir()
    patients, encounters, conditions = [], [], []
    for n in range(40):
        patients.append(
            {"resourceType": "Patient", "id": f"p{n}", "gender": "female", "birthDate": "1950-01-01"}
        )
        who = {"subject": {"reference": f"Patient/p{n}"}}
        code = dispositions[n % len(dispositions)]
        encounters.append(
            {
                "resourceType": "Encounter",
                "id": f"e{n}",
                "status": "finished",
                "class": {"system": ACT_CODE, "code": classes[n % len(classes)]},
                "period": {"start": "2020-01-01T08:00:00Z", "end": "2020-01-05T12:00:00Z"},
                "hospitalization": {"dischargeDisposition": {"coding": [{"system": HL7, "code": code}]}},
            }
            | who
        )
        if systems:
            code = codes[n % len(codes)]
            concept = {"coding": [{"system": systems[n % len(systems)], "code": code}]}
            condition = {"resourceType": "Condition", "id": f"c{n}", "code": concept}
            conditions.append(condition | who | {"encounter": {"reference": f"Encounter/e{n}"}})
    for name, rows in (("Patient", patients), ("Encounter", encounters), ("Condition", conditions)):
        (folder / f"{name}.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "manifest.json").write_text(
        json.dumps({"transactionTime": "2025-06-30T00:00:00Z", "output": [], "error": []})
    )
    return folder


def ingest(tmp_path, site=None, name="data", **words):
    if not (tmp_path / "export").exists():
        write_export(tmp_path / "export", **words)
    if site is not None:
        (tmp_path / "site.yaml").write_text(site)
    plan = IngestPlan(
        "fhir",
        tmp_path / "export",
        tmp_path / name,
        [],
        [],
        site=tmp_path / "site.yaml" if site is not None else None,
    )
    return run_ingest(plan, Silent())[0]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_task_is_refused_above_five_percent_of_unknown_words_and_made_at_five(tmp_path):
    twentieth = ("home",) * 19 + ("zz9",)
    dataset = ingest(tmp_path, dispositions=twentieth)
    assert make_labels(dataset, ["in_hospital_mortality"], Silent())
    with pytest.raises(
        DataError, match=r"2 of 40 hospital stays .*'zz9' of \S+ \(2\).*--suggest-site.*--site"
    ):
        make_labels(dataset, ["in_hospital_mortality"], Silent(), max_unknown=0.049)


def test_only_tasks_that_depend_on_the_unknown_are_refused_and_the_others_are_written(tmp_path):
    ingest(tmp_path, systems=("http://hl7.org/fhir/sid/icd-10", "http://here.example/dx"))
    result = run("label", "all", tmp_path / "data", tmp_path / "labels")
    assert result.exit_code == 3
    assert "refused: hypertension_1y: 20 of 40 diagnoses" in result.output
    assert "http://here.example/dx" in result.output
    written = {path.stem for path in (tmp_path / "labels").glob("*.parquet")}
    assert written == set(task_modules()) - {"hypertension_1y"}


def test_snomed_concepts_in_no_list_are_told_with_their_counts_and_the_site_says_what_they_mean(tmp_path):
    """10 of 40 diagnoses are of a concept in no list; filled in, every label is there."""
    snomed, site = "http://snomed.info/sct", tmp_path / "starter.yaml"
    words = {"systems": (ICD10, ICD10, ICD10, snomed), "codes": ("J18", "I10", "J18", "10725009")}
    write_export(tmp_path / "export", **words)
    result = run("ingest", "fhir", tmp_path / "export", tmp_path / "data", "--suggest-site", site)
    assert "diagnosis code" in result.output
    assert "unknown: '10725009' of SNOMED (10)" in result.output
    with pytest.raises(DataError, match=r"10 of 40 diagnoses have a code .*'10725009' of SNOMED \(10\)"):
        make_labels(Dataset.open(tmp_path / "data"), ["hypertension_1y"], Silent())
    starter = site.read_text()
    assert '"SNOMED|10725009":  # fill in: 10 records' in starter
    for meaning, excluded in (("hypertension", 20), ("none", 10)):
        filled = starter.replace(":  # fill in", f": {meaning}  #")
        dataset = ingest(tmp_path, filled, meaning)
        ((table, counts),) = make_labels(dataset, ["hypertension_1y"], Silent()).values()
        assert counts.excluded == {"condition already coded": excluded}
        assert dataset.manifest["recognition"]["diagnosis"]["mapped"] == 10
        assert table.num_rows == 40 - excluded


def test_an_export_without_any_known_stay_is_refused_whole_and_its_words_are_named(tmp_path):
    dataset = ingest(tmp_path, classes=("AMB", "07"))
    for wanted in (None, ["long_stay_7d"]):
        with pytest.raises(DataError, match=r"no encounter is recognised as a hospital stay.*'07'"):
            make_labels(dataset, wanted, Silent(), max_unknown=1)
    result = run("label", "all", tmp_path / "data", tmp_path / "labels")
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 5
    assert not (tmp_path / "labels").exists()


def test_an_export_of_known_visits_alone_is_labelled_as_it_is(tmp_path):
    labels = make_labels(ingest(tmp_path, classes=("AMB",)), None, Silent())
    assert all(table.num_rows == 0 for table, _ in labels.values())


def test_words_declared_in_a_site_file_keep_every_label(tmp_path):
    words = {
        "classes": ("IMP", "EMER"),
        "dispositions": ("exp", "home"),
        "systems": ("http://hl7.org/fhir/sid/icd-10",),
    }
    before = make_labels(ingest(tmp_path, **words), None, Silent())
    shutil.rmtree(tmp_path / "export")
    local = {"classes": ("07", "yes"), "dispositions": ("1", "no"), "systems": ("http://here.example/dx",)}
    site = """
        vocabulary:
          class: {07: stay, yes: emergency}
          disposition: {1: dead, no: alive}
          systems: {http://here.example/dx: ICD10}
    """
    with pytest.raises(DataError):
        make_labels(ingest(tmp_path, name="unread", **local), None, Silent())
    dataset = ingest(tmp_path, site, "declared", **local)
    after = make_labels(dataset, None, Silent())
    assert {name: table for name, (table, _) in before.items()} == {
        name: table for name, (table, _) in after.items()
    }
    assert dataset.manifest["site"]["vocabulary"]["class"] == {"07": "stay", "yes": "emergency"}
    assert dataset.manifest["recognition"]["class"]["mapped"] == 40


def test_how_stays_are_formed_comes_from_the_settings_then_the_site_file_then_the_dataset(tmp_path):
    dataset = ingest(tmp_path, "stays: {merge_gap_hours: 6}")
    (tmp_path / "other.yaml").write_text("stays: {merge_gap_hours: 8}")
    assert stays_of(dataset)[0].merge_gap_hours == 6
    assert stays_of(dataset, tmp_path / "other.yaml")[0].merge_gap_hours == 8
    formed, rest = stays_of(dataset, tmp_path / "other.yaml", ["stays.merge_gap_hours=9", "hours=48"])
    assert (formed.merge_gap_hours, rest) == (9, ["hours=48"])
    _, counts = make_labels(dataset, ["long_stay_7d"], Silent())["long_stay_7d"]
    assert counts.settings["stays"]["merge_gap_hours"] == 6
    result = run("label", "all", dataset.path, tmp_path / "labels", "--set", "stays.merge_gap_hours=7")
    assert result.exit_code == 0
    with pytest.raises(ConfigError, match=r"stays\.merge_gap_hour.*merge_gap_hours"):
        stays_of(dataset, None, ["stays.merge_gap_hour=7"])


def test_words_that_come_only_after_ingest_are_said_to_do_nothing(tmp_path):
    dataset = ingest(tmp_path, "vocabulary: {class: {x: stay}}")
    assert vocabulary_note(dataset, tmp_path / "site.yaml") == ""
    (tmp_path / "site.yaml").write_text("vocabulary: {class: {x: other}}")
    assert "ingest again" in vocabulary_note(dataset, tmp_path / "site.yaml")
    (tmp_path / "site.yaml").write_text("stays: {merge_gap_hours: 6}")
    assert vocabulary_note(dataset, tmp_path / "site.yaml") == vocabulary_note(dataset, None) == ""


def test_a_site_file_is_refused_before_any_work(tmp_path):
    for text, told in (
        ("stays: {gap: 6}", "gap: no such setting"),
        ("vocabulary: {class: {a: }}", "no meaning"),
    ):
        with pytest.raises(ConfigError, match=told):
            ingest(tmp_path, text)
    assert not (tmp_path / "data").exists()


def test_a_source_without_words_takes_no_vocabulary(tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "site.yaml").write_text("vocabulary: {sex: {a: male}}")
    plan = IngestPlan(
        "physionet2012", tmp_path / "sets", tmp_path / "data", [], [], site=tmp_path / "site.yaml"
    )
    with pytest.raises(ConfigError, match="no words that a site could declare"):
        run_ingest(plan, Silent())


def test_a_starter_of_the_site_file_is_written_and_takes_effect_when_filled_in(tmp_path):
    write_export(tmp_path / "export", classes=("07", "EMER"), dispositions=("home",))
    starter = tmp_path / "site.yaml"
    result = run("ingest", "fhir", tmp_path / "export", tmp_path / "data", "--suggest-site", starter)
    assert result.exit_code == 0
    assert "encounter class" in result.output
    assert "'07'" in result.output
    again = run("ingest", "fhir", tmp_path / "export", tmp_path / "two", "--site", starter)
    assert "have no meaning yet" in str(again.exception)
    starter.write_text(starter.read_text().replace(":  # fill in:", ": stay #"))
    assert run("ingest", "fhir", tmp_path / "export", tmp_path / "two", "--site", starter).exit_code == 0
    assert run("label", "all", tmp_path / "two", tmp_path / "labels").exit_code == 0
    once_more = run("ingest", "fhir", tmp_path / "export", tmp_path / "three", "--suggest-site", starter)
    assert "is not overwritten" in str(once_more.exception)


def test_a_starter_is_written_too_when_nothing_could_be_published(tmp_path):
    export = write_export(tmp_path / "export", classes=("07",))
    with (export / "Encounter.ndjson").open("a") as file:
        file.write('{"resourceType": "Encounter", "id": "bad"}\n' * 40)
    starter = tmp_path / "site.yaml"
    result = run("ingest", "fhir", export, tmp_path / "data", "--suggest-site", starter)
    assert isinstance(result.exception, DataError)
    assert not (tmp_path / "data").exists()
    assert "|07" in starter.read_text()


def test_training_without_labels_leaves_out_refused_tasks_and_ends_with_3(tmp_path):
    write_export(tmp_path / "export", dispositions=("home", "exp"), systems=("http://here.example/dx",))
    ingest(tmp_path)
    result = run(
        "train", "logistic", "--data", tmp_path / "data", "--out", tmp_path / "model", "--threads", 1
    )
    assert "hypertension_1y: Refused. 40 of 40 diagnoses" in result.output
    assert result.exit_code == 3 or isinstance(result.exception, DataError)


def test_a_dataset_of_before_the_account_refuses_nothing(tmp_path):
    dataset = ingest(tmp_path, dispositions=("zz9",))
    old = Dataset(
        dataset.path, {k: v for k, v in dataset.manifest.items() if k not in ("recognition", "site")}
    )
    assert len(make_labels(old, None, Silent())) == len(task_modules())


def test_stays_without_any_diagnosis_give_no_onset_labels_unless_that_is_allowed(tmp_path):
    ingest(tmp_path, systems=())
    result = run("label", "all", tmp_path / "data", tmp_path / "labels")
    assert result.exit_code == 3
    assert "refused: hypertension_1y: the dataset contains hospital stays and no diagnosis" in result.output
    assert "Ingest an export with Conditions, or allow it with --max-unknown 1" in result.output
    assert "--suggest-site" not in result.output
    written = {path.stem for path in (tmp_path / "labels").glob("*.parquet")}
    assert written == set(task_modules()) - {"hypertension_1y"}
    allowed = ("label", "hypertension_1y", tmp_path / "data", tmp_path / "one.parquet", "--max-unknown", 1)
    assert run(*allowed).exit_code == 0


def test_a_dataset_without_encounters_is_refused_whole_unless_that_is_allowed(tmp_path):
    write_export(tmp_path / "export")
    (tmp_path / "export" / "Encounter.ndjson").unlink()
    dataset = ingest(tmp_path)
    with pytest.raises(DataError, match=r"contains no encounter.*Ingest an export with Encounters, or allow"):
        make_labels(dataset, None, Silent())
    labels = make_labels(dataset, None, Silent(), max_unknown=1)
    assert all(table.num_rows == 0 for table, _ in labels.values())


def test_a_source_that_counts_no_words_is_never_refused_for_what_is_missing(tmp_path):
    dataset = ingest(tmp_path, systems=())
    dataset.manifest.pop("recognition")
    assert set(make_labels(dataset, None, Silent())) == set(task_modules())
