"""Generated exports, most of them odd: `ingest` and `label` end in a dataset or a clear error.

`make test` has a seeded sample, `make soak` 2,000 of them, of which 100 go through `train` too.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.commands.train import run_train
from chartscan.errors import ChartscanError
from chartscan.labels.files import cohort_lines
from chartscan.labels.making import make_labels
from hospital_export import EXPORTED, QUIET

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        ["", " ", "\x00", "\ud7ff", "é", "<b>", "'; --", "a" * 300, [], {}, [[]], [None], {"a": 1}]
    ),
)
DATES = st.dates().map(str) | st.sampled_from(
    ["2024", "2024-02", "2024-02-30", "0001-01-01", "1900-01-01", "9999-12-31", "2099-01-01", "24", "2024-13"]
)
TIMES = st.one_of(
    DATES,
    st.builds(
        lambda day, clock, zone: f"{day}T{clock}{zone}",
        st.sampled_from(["2024-01-05", "2023-12-31", "2024-02-29", "9999-12-31", "0001-01-01", "1955-05-05"]),
        st.sampled_from(["00:00:00", "10:30:00", "23:59:59.999999", "24:00:00", "23:59:60", "10:30", "10"]),
        st.sampled_from(["Z", "", "+14:00", "-12:00", "+0100", "+01", " ", "X"]),
    ),
    st.sampled_from(["2024-01-01T10:00:00Z", "2024-01-03T12:00:00Z", "2024-01-09", "2023-06-01T00:00:00Z"]),
    JUNK,
)
WHO = st.sampled_from(
    ["Patient/a", "Patient/b", "Patient/b/_history/1", "urn:uuid:a", "Group/a", "Patient/zz", "#a"]
)
WHERE = st.sampled_from(["Encounter/e0", "Encounter/e1", "Encounter/e2", "Encounter/lost", "", "#", "e0"])
SYSTEMS = st.sampled_from(
    [
        "http://hl7.org/fhir/sid/icd-10-cm",
        "http://hl7.org/fhir/sid/icd-10",
        "ICD-10-GM",
        "http://loinc.org",
        "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        "http://terminology.hl7.org/CodeSystem/discharge-disposition",
        "urn:local",
        "",
        None,
    ]
)
CODES = st.sampled_from(
    ["I10", "E87.1", "E785", "2345-7", "IMP", "AMB", "imp", "exp", "home", "Q7", "20", "", "x y"]
)
CODING = st.fixed_dictionaries({}, optional={"system": SYSTEMS, "code": CODES | JUNK, "display": CODES})
CONCEPT = st.fixed_dictionaries({}, optional={"coding": st.lists(CODING, max_size=3), "text": CODES | JUNK})
PERIOD = st.fixed_dictionaries({}, optional={"start": TIMES, "end": TIMES})
NUMBER = st.one_of(st.floats(allow_nan=False), st.integers(-(10**12), 10**12), st.sampled_from(["<5", "1,5"]))
QUANTITY = st.fixed_dictionaries(
    {},
    optional={
        "value": NUMBER | JUNK,
        "unit": st.sampled_from(["mg/dL", "mmol/L", "", "%"]) | JUNK,
        "code": st.sampled_from(["mg/dL", "mmol/L"]),
        "comparator": st.sampled_from(["<", ">=", "ad", "~"]),
    },
)
META = st.fixed_dictionaries(
    {}, optional={"versionId": st.sampled_from(["1", "2", "x"]), "lastUpdated": TIMES}
)
STATUS = st.sampled_from(["finished", "final", "entered-in-error", "in-progress", "planned", "odd", None])
IDS = st.sampled_from(["a", "b", "e0", "e1", "e2", "o1", "o2"])
REFERENCE = {
    "subject": WHO.map(lambda w: {"reference": w}),
    "encounter": WHERE.map(lambda w: {"reference": w}),
}


def resource(kind: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A resource of one type in which any field may be missing, and some are of another kind."""
    common = {"id": IDS | JUNK, "meta": META, "status": STATUS, **REFERENCE, **fields}
    return st.fixed_dictionaries({"resourceType": st.just(kind)}, optional=common)


PATIENT = resource(
    "Patient",
    gender=st.sampled_from(["male", "F", "?", 3]),
    birthDate=TIMES,
    deceasedDateTime=TIMES,
    deceasedBoolean=st.booleans() | JUNK,
    link=st.lists(
        st.fixed_dictionaries(
            {
                "other": WHO.map(lambda w: {"reference": w}),
                "type": st.sampled_from(["replaced-by", "seealso"]),
            }
        ),
        max_size=2,
    ),
)
ENCOUNTER = resource(
    "Encounter",
    period=PERIOD,
    partOf=WHERE.map(lambda w: {"reference": w}),
    hospitalization=st.fixed_dictionaries({}, optional={"dischargeDisposition": CONCEPT}),
    priority=CONCEPT,
    **{"class": CODING},
)
CONDITION = resource(
    "Condition", code=CONCEPT, onsetDateTime=TIMES, recordedDate=TIMES, verificationStatus=CONCEPT
)
OBSERVATION = resource(
    "Observation",
    code=CONCEPT,
    effectiveDateTime=TIMES,
    issued=TIMES,
    valueQuantity=QUANTITY,
    valueString=JUNK,
    component=st.lists(st.fixed_dictionaries({"code": CONCEPT, "valueQuantity": QUANTITY}), max_size=2),
)
GOOD = [
    {"resourceType": "Patient", "id": name, "gender": "male", "birthDate": "1950-03-04"}
    for name in ("a", "b")
] + [
    {
        "resourceType": "Encounter",
        "id": f"e{k}",
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": {"reference": f"Patient/{'ab'[k % 2]}"},
        "period": {"start": f"2024-01-0{k + 1}T10:00:00Z", "end": f"2024-01-0{k + 4}T10:00:00Z"},
    }
    for k in range(3)
]
LINES = st.one_of(PATIENT, ENCOUNTER, ENCOUNTER, CONDITION, OBSERVATION).map(json.dumps) | st.sampled_from(
    [
        "",
        "{",
        "[]",
        "null",
        '{"resourceType": "Patient"}',
        '{"resourceType": 3}',
        '{"id": "a", "id": "b"}',
        "\ufeff{}",
    ]
)
EXPORTS = st.tuples(st.booleans(), st.lists(LINES, max_size=12), st.sampled_from([EXPORTED, None]))


def run(export: tuple[bool, list[str], str | None], train: bool = False) -> str:
    """What became of a generated export: the step it reached, or the kind of clear error it ended in."""
    good, lines, exported = export
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "export"
        folder.mkdir()
        text = [json.dumps(one) for one in GOOD] if good else []
        (folder / "data.ndjson").write_text("\n".join([*text, *lines]), errors="surrogatepass")
        if exported:
            (folder / "manifest.json").write_text(json.dumps({"transactionTime": exported}))
        plan = IngestPlan("fhir", folder, Path(scratch) / "dataset", [], ["error_budget=1", "threads=1"])
        step = "ingest"
        try:
            dataset = run_ingest(plan, QUIET)[0]
            step = "label"
            labels = make_labels(dataset, None, QUIET)
            cohort_lines(labels)
            step = "train"
            if train:
                run_train("logistic", dataset.path, Path(scratch) / "model", None, [], QUIET)
        except ChartscanError as err:
            return f"{step}: {type(err).__name__}"
        return "done"


SETTINGS = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
reached: list[str] = []


@settings(max_examples=40, **SETTINGS)
@given(EXPORTS)
def test_a_generated_export_ends_in_a_dataset_or_a_clear_error(export):
    reached.append(run(export))


def test_generated_exports_reach_labels_and_errors_alike():
    if os.environ.get("PYTEST_XDIST_WORKER") and not reached:
        pytest.skip("the sample ran in another process")
    assert "done" in reached
    assert len(set(reached)) > 1


@pytest.mark.soak
@settings(max_examples=1900, **SETTINGS)
@given(EXPORTS)
def test_1900_generated_exports_end_in_a_dataset_or_a_clear_error(export):
    run(export)


@pytest.mark.soak
@settings(max_examples=100, **SETTINGS)
@given(EXPORTS)
def test_100_generated_exports_go_through_train_too(export):
    run(export, train=True)
