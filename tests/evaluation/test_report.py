"""The report holds every number, asks the network for nothing, and runs nobody's script but its own."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest

from chartscan.errors import DataError
from chartscan.evaluation import (
    DatasetFacts,
    Evaluation,
    PredictionSet,
    ReportSections,
    TrainingCurve,
    evaluate,
    read_metrics,
    text_table,
    write_report,
)
from chartscan.evaluation.report import accounting_rows, file_rows, report_html, verdict
from chartscan.notes import Note, records

SCRIPT = "<script>alert(1)</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

RECOGNITION = {
    "class": {
        "recognised": 90,
        "mapped": 4,
        "unknown": 6,
        "not_said": 1,
        "words": [
            {"word": "IMP", "system": "v3", "how": "recognised", "meaning": "stay", "records": 90},
            {"word": "4", "system": "local", "how": "unknown", "meaning": None, "records": 6},
        ],
    }
}
SECTIONS = ReportSections(
    title="A report",
    version="0.1.0",
    code_version="0123456789abcdef",
    dataset=DatasetFacts(
        name="a hospital",
        subjects=600,
        simulated=True,
        follow_up={"rule": "export_time", "time": "2021-12-31"},
    ),
    accounting={
        "lines": [
            {
                "file": f"{n}.ndjson",
                "type": "Observation",
                "lines_in": 10 + n,
                "accepted": 7,
                "merged_duplicates": n,
                "filtered": {"entered in error": 2},
                "quarantined": {"B02 malformed_json": 1},
            }
            for n in (1, 2)
        ],
        "events_out": 14,
    },
    recognition=RECOGNITION,
    notes=[Note("follow_up_not_known", "Nothing says how long subjects were followed.")],
    training=[TrainingCurve("pretraining", [1, 2, 3], [3.0, 2.0, 1.5])],
    settings={"model": {"d_model": 64}},
    environment={"python": "3.11"},
)


class Elements(HTMLParser):
    """Start tags with attributes, outside scripts."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def evaluation(make_models):
    first, ceiling = make_models()
    second, other = make_models(task="mortality_30d", seed=5)
    return evaluate([*first, *second], ceiling={ceiling.task: ceiling, other.task: other}, bootstrap=30)


@pytest.fixture(scope="module")
def page(evaluation):
    return report_html(evaluation, SECTIONS)


def own_text(page):
    """The page without Plotly's code."""
    return re.sub(r"<script>/\*\*.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_is_one_file_that_loads_nothing(page):
    assert 4e6 < len(page) < 6e6
    elements = Elements(own_text(page)).found
    assert not [tag for tag, _ in elements if tag in ("link", "img", "iframe", "object", "embed", "base")]
    targets = [
        value for _, attrs in elements for name, value in attrs.items() if name in ("src", "href", "action")
    ]
    assert targets
    assert all(target.startswith("#") for target in targets)
    policy = [attrs for tag, attrs in elements if tag == "meta" and "http-equiv" in attrs]
    assert policy[0]["content"].startswith("default-src 'none'")
    assert page.count("plotly.js v") == 1


def test_every_auroc_of_the_evaluation_stands_in_the_page(page, evaluation):
    for task in evaluation.tasks:
        for model in [*task.models, task.ceiling]:
            auroc = model.estimates["auroc"]
            assert f"{auroc.value:.3f}" in page
            assert f"[{auroc.low:.3f}, {auroc.high:.3f}]" in page


def test_every_figure_has_data_and_stays_small(page, evaluation):
    data = json.loads(re.search(r'id="figure-data">(.*?)</script>', page, re.DOTALL).group(1))
    places = re.findall(r'class="plot" data-figure="([^"]+)"', page)
    assert sorted(places) == sorted(data)
    assert len(places) == 4 * len(evaluation.tasks) + 2
    for figure in data.values():
        assert all(len(trace["x"]) == len(trace["y"]) <= 202 for trace in figure["data"])


def test_names_from_outside_are_inert_wherever_they_appear(make_models):
    (model, _), _ = make_models(n=300)
    run = {"calibration": SCRIPT, SCRIPT: SCRIPT, "notes": records([Note(SCRIPT, SCRIPT, SCRIPT)])}
    run |= {"coverage": {SCRIPT: {SCRIPT: {"events": 9, "unknown": 9}}}, "split": SCRIPT, "dataset": SCRIPT}
    cohort = {SCRIPT: 5, "excluded": {SCRIPT: 2}, "settings": {SCRIPT: SCRIPT}}
    sets = [PredictionSet(SCRIPT, f"{name}{SCRIPT}", model.table, cohort, run) for name in ("a", "b")]
    line = {"file": SCRIPT, "type": SCRIPT, "lines_in": 3, "accepted": 1, "merged_duplicates": 0}
    sections = ReportSections(
        title=SCRIPT,
        version=SCRIPT,
        code_version=SCRIPT,
        created=SCRIPT,
        dataset=DatasetFacts(SCRIPT, 1, 1, SCRIPT, SCRIPT, True, {"rule": SCRIPT}, SCRIPT),
        accounting={
            "lines": [{**line, "filtered": {SCRIPT: 1}, "quarantined": {SCRIPT: 1}}],
            "flagged": {SCRIPT: 1},
            "files": [{"name": SCRIPT, "how": SCRIPT, "reason": SCRIPT, "bytes": 1}],
        },
        recognition={
            SCRIPT: {
                "unknown": 1,
                "words": [{"word": SCRIPT, "system": SCRIPT, "how": SCRIPT, "meaning": SCRIPT, "records": 1}],
            }
        },
        notes=[Note(SCRIPT, SCRIPT, SCRIPT)],
        training=[TrainingCurve(SCRIPT, [1], [1.0])],
        settings={SCRIPT: SCRIPT},
        environment={SCRIPT: [SCRIPT]},
    )
    page = report_html(evaluate(sets, bootstrap=10), sections)
    assert "alert(1)" in page
    assert not re.search(r"<\s*/?\s*script[^>]*>\s*alert", page)
    scripts = [attrs for tag, attrs in Elements(own_text(page)).found if tag == "script"]
    assert len(scripts) == 2  # the data and our own few lines


def test_what_is_not_known_is_said_and_the_empty_report_still_renders(evaluation):
    page = own_text(report_html(evaluation, ReportSections()))
    for words in (
        "The accounting of the ingest: not available",
        "The coverage of the vocabulary on the evaluated dataset: not available",
        "How the words of the source were read: not available",
        "Training curves: not available",
        "Dataset name not available",
        "It is unknown whether the data are simulated or real",
        "How long subjects were followed is not available",
    ):
        assert words in page


def test_a_report_of_one_class_and_no_baseline_renders(make_table):
    table = make_table([1, 2], [1, 2], [True, True], [0.2, 0.4])
    page = own_text(report_html(evaluate([PredictionSet("t", "m", table)], bootstrap=5), ReportSections()))
    assert "nothing can be estimated" in page
    assert "no curve to draw" in page
    assert "No baseline was scored" in page


def test_the_accounting_adds_up_over_files(make_models):
    (row,) = accounting_rows(SECTIONS.accounting)
    assert (row["lines_in"], row["accepted"], row["merged_duplicates"]) == (23, 14, 3)
    assert row["filtered"] == {"entered in error": 4}
    lost = {"lines": [{**SECTIONS.accounting["lines"][0], "accepted": 6}]}
    evaluation = evaluate(make_models(n=63)[0], bootstrap=5)
    no = '<b class="worse">no</b>'
    assert no in own_text(report_html(evaluation, ReportSections(accounting=lost)))
    assert no not in own_text(report_html(evaluation, ReportSections(accounting=SECTIONS.accounting)))


def test_the_metrics_file_is_the_whole_evaluation(tmp_path, evaluation):
    assert write_report(evaluation, tmp_path / "new" / "report", sections=SECTIONS).is_file()
    content = (tmp_path / "new" / "report" / "metrics.json").read_bytes()
    assert msgspec.json.decode(content, type=Evaluation) == evaluation
    assert read_metrics(tmp_path / "new" / "report") == evaluation


@pytest.mark.parametrize("flips", [20, pytest.param(300, marks=pytest.mark.soak)])
def test_a_flipped_byte_in_a_report_or_its_metrics_is_an_error_that_names_the_file(
    tmp_path, evaluation, flips
):
    write_report(evaluation, tmp_path, sections=SECTIONS)
    random = np.random.default_rng(flips)
    for name in ("metrics.json", "report.html"):
        path = tmp_path / name
        whole = path.read_bytes()
        for _ in range(flips if name == "metrics.json" else 2):  # the other has 5 MB
            changed = bytearray(whole)
            changed[random.integers(len(whole))] ^= int(random.integers(1, 256))
            path.write_bytes(changed)
            with pytest.raises(DataError, match=rf"{name}: .*damaged.*Evaluate again"):
                read_metrics(tmp_path)
        path.write_bytes(whole)
    assert read_metrics(tmp_path) == evaluation


def test_a_report_of_another_run_than_its_metrics_is_an_error_that_names_it(tmp_path, evaluation):
    write_report(evaluation, tmp_path, sections=SECTIONS)
    old = (tmp_path / "metrics.json").read_bytes()
    write_report(evaluation, tmp_path, sections=msgspec.structs.replace(SECTIONS, title="Another"))
    (tmp_path / "metrics.json").write_bytes(old)  # as after a crash between the two files
    with pytest.raises(DataError, match=r"report\.html: .* of another run than metrics\.json"):
        read_metrics(tmp_path)


def test_a_failed_report_leaves_the_older_one(tmp_path, evaluation, monkeypatch):
    write_report(evaluation, tmp_path, sections=SECTIONS)
    (tmp_path / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(*_):
        raise RuntimeError("no figures today")

    monkeypatch.setattr("chartscan.evaluation.report._figures", broken)
    with pytest.raises(RuntimeError):
        write_report(evaluation, tmp_path, sections=ReportSections(title="newer"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_text_table_has_a_line_for_every_model(evaluation):
    lines = text_table(evaluation).splitlines()
    assert len(lines) == 1 + 3 * len(evaluation.tasks)
    assert f"{evaluation.tasks[0].models[0].estimates['auroc'].value:.3f}" in lines[1]
    assert max(map(len, lines)) <= 110


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_draws_every_figure_without_an_error(tmp_path, evaluation):
    path = write_report(evaluation, tmp_path / "report", sections=SECTIONS)
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=10000",
        "--enable-logging=stderr",
        "--dump-dom",
        path.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert len(re.findall(r'class="plot js-plotly-plot"', shown.stdout)) == 4 * len(evaluation.tasks) + 2
    assert "CONSOLE" not in shown.stderr  # neither errors of scripts nor refusals of the security policy


def with_run(sets, **run):
    """The predictions with other run settings."""
    return [PredictionSet(m.task, m.model, m.table, m.cohort, {"calibration": "platt", **run}) for m in sets]


def page_of(sets, sections=SECTIONS, bootstrap=20):
    return " ".join(own_text(report_html(evaluate(sets, bootstrap=bootstrap), sections)).split())


ELSEWHERE = {
    "split": "all",
    "dataset": "b" * 64,
    "trained_on": {"fingerprint": "a" * 64},
    "seen": {"subjects": 600, "seen": 0},
    "coverage": {
        "events": {"LOINC": {"events": 1000, "unknown": 110}, "RXNORM": {"events": 50, "unknown": 0}}
    },
}


def test_the_report_of_another_hospital_says_that_it_is_another_and_that_no_subject_was_used_in_training(
    make_models,
):
    sets, _ = make_models(n=300, subjects=100)
    page = page_of(with_run(sets, **ELSEWHERE))
    subjects = evaluate(sets, bootstrap=1).tasks[0].subjects
    assert "<dt>Trained on</dt><dd>another dataset</dd>" in page
    assert f"none of the {subjects} subjects were used in training" in page
    assert "Another dataset than the one trained on" in page
    assert "One dataset, split by subject" not in page
    assert "Not held out" not in page
    assert not re.search("[0-9] of the [0-9]+ subjects were used", page)


def test_subjects_that_taught_a_model_are_counted(make_models):
    sets, _ = make_models(n=300, subjects=100)
    page = page_of(with_run(sets, **ELSEWHERE | {"seen": {"subjects": 90, "seen": 12}}))
    assert re.search(r"12 of the \d+ subjects were used in training", page)
    assert "Not held out" in page


def test_where_nothing_says_who_was_seen_the_report_says_so(make_models):
    sets, _ = make_models(n=300, subjects=100)
    page = page_of(with_run(sets))
    assert "unknown whether any of the" in page
    assert "Unknown whether" in page
    assert "<dt>Trained on</dt><dd>not available</dd>" in page


def test_the_coverage_shown_is_that_of_the_evaluated_dataset(make_models):
    sets, _ = make_models(n=300, subjects=100)
    page = page_of(with_run(sets, **ELSEWHERE))
    assert "ehrmamba-small, xgboost: 1,050 events, 10.48 % not known" in page
    assert "11.00 %" in page


def test_an_auroc_from_few_events_is_marked_wherever_it_stands(make_models):
    sets, _ = make_models(n=150, subjects=100, prevalence=0.05)
    evaluation = evaluate(sets, bootstrap=50)
    (task,) = evaluation.tasks
    assert task.few == f"{task.events} events"
    mark = f"only {task.events} events"
    page = own_text(report_html(evaluation, SECTIONS))
    rows = [row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if "0." in row and "AUROC" not in row]
    auroc = f"{task.models[0].estimates['auroc'].value:.3f}"
    assert all(mark in row for row in rows if f">{auroc}<" in row)
    assert f"From only {task.events} events." in page  # beside the curves
    data = json.loads(re.search(r'id="figure-data">(.*?)</script>', page, re.DOTALL).group(1))
    assert all(f"({task.events} events)" in trace["name"] for trace in data["roc-0"]["data"])
    assert f"({task.events} events)" in data["forest"]["layout"]["yaxis"]["ticktext"][0]
    lines = text_table(evaluation).splitlines()[1:]
    assert all(f"({task.events} events)" in line for line in lines)
    assert msgspec.json.decode(evaluation.json())["tasks"][0]["few"] == f"{task.events} events"
    assert [note.code for note in evaluation.notes] == ["few_resamples", "few_events"]


def test_an_auroc_from_enough_events_is_not_marked(page, evaluation):
    assert all(task.few is None for task in evaluation.tasks)
    assert 'class="few"' not in own_text(page)


def test_a_difference_that_cannot_be_estimated_says_so_and_why(make_models, make_table):
    (model, _), _ = make_models(n=300, subjects=100)
    twin = PredictionSet(model.task, "twin", model.table)
    (task,) = evaluate([model, twin], bootstrap=20).tasks
    assert {verdict(one) for one in task.differences} == {"not estimable"}
    page = page_of([model, twin])
    assert "not estimable: every resample gives the same difference" in page
    assert "On 1 the difference is not estimable." in page
    one_class = make_table([1, 2], [1, 2], [True, True], [0.2, 0.4])
    page = page_of([PredictionSet("t", name, one_class) for name in ("a", "b")])
    assert "not estimable: one class only" in page
    lone = make_table([1, 2, 2], [1, 2, 3], [True, False, False], [0.2, 0.4, 0.5])
    seldom = page_of([PredictionSet("t", name, lone) for name in ("a", "b")], bootstrap=200)
    assert "not estimable: fewer than half of the resamples have both classes" in seldom or (
        "not estimable: every resample gives the same difference" in seldom
    )


def test_notes_stand_near_the_top_and_beside_the_task_they_concern(make_models):
    sets, _ = make_models(n=300, subjects=100)
    note = Note("other_moments", "12 of 300 questions are not asked when the model learned.", sets[0].task)
    page = page_of(with_run(sets, notes=records([note]), training_notes=records([Note("few", "17 events.")])))
    assert page.index('id="notes"') < page.index('id="limitations"')
    assert page.count("ehrmamba-small: 12 of 300 questions are not asked when the model learned.") == 2
    assert page.count("ehrmamba-small, training: 17 events.") == 1
    assert page.count("Nothing says how long subjects were followed.") == 1


def test_the_title_of_a_task_states_its_settings_everywhere(make_models):
    sets, _ = make_models(n=300, subjects=100)
    title = "Readmission within 90 days after discharge"
    page = page_of(sets, msgspec.structs.replace(SECTIONS, task_titles={sets[0].task: title}))
    assert page.count(title) >= 5
    assert "30 days" not in page


def test_the_words_of_the_source_are_shown_as_they_were_read(page):
    page = " ".join(page.split())
    assert '<th>class</th><td>90</td><td>4</td><td class="worse">6 (6.0 %)</td><td>1</td>' in page
    assert "<code>4</code>" in page


def test_files_are_counted_by_what_became_of_them():
    files = [
        {"name": "Patient.ndjson", "how": "read", "reason": "", "bytes": 10},
        {"name": "a.part", "how": "set aside", "reason": "unfinished", "bytes": 2},
        {"name": "b.part", "how": "set aside", "reason": "unfinished", "bytes": 3},
    ]
    assert [tuple(row) for row in file_rows(files)] == [
        ("read", "", 1, 10, ""),
        ("set aside", "unfinished", 2, 5, "a.part, b.part"),
    ]
