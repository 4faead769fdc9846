"""Two lines of one id that differ, and nothing that says which is newer: labels never rest on their order."""

import itertools

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from chartscan.cohort import record_from_events
from chartscan.errors import DataError
from chartscan.find import find, names
from fhir_export import PATIENT, concept, encounter, ingest_lines, observation, resource

ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
FOLLOW_UP = {"rule": "export_time", "time": "2030-01-01"}
EARLIER = encounter(id="e0", period={"start": "2019-02-01T08:00:00Z", "end": "2019-02-03T08:00:00Z"})
LATER = encounter(id="e2", period={"start": "2020-01-20T08:00:00Z", "end": "2020-01-22T08:00:00Z"})


def condition(code="I10", when="2020-03-01T00:00:00Z", **fields):
    return resource(
        "Condition", **{"code": concept(code, ICD10), "recordedDate": when, "onsetDateTime": when} | fields
    ) | {"id": "c1"}


def expired(**fields):
    return encounter(hospitalization={"dischargeDisposition": concept("exp")}, **fields)


VERSIONS = {
    "codes of a Condition": [condition("I10"), condition("J18.9"), condition("E78.0")],
    "dates of a Condition": [condition(when="2018-03-01T00:00:00Z"), condition(when="2020-03-01T00:00:00Z")],
    "statuses of a Condition": [
        condition(),
        condition(verificationStatus=concept("refuted")),
        condition(verificationStatus=concept("provisional")),
    ],
    "ends of a stay": [
        encounter(period={"start": "2020-01-01T08:00:00Z", "end": f"2020-01-{day:02}T08:00:00Z"})
        for day in (3, 12)
    ],
    "dispositions of a stay": [encounter(), expired()],
    "classes of an Encounter": [LATER, LATER | {"class": {"code": "AMB"}}, LATER | {"class": {"code": "?"}}],
    "statuses of an Encounter": [LATER, LATER | {"status": "cancelled"}],
    "dates of an Encounter": [
        LATER,
        encounter(id="e2", period={"start": "2021-01-20T08:00:00Z", "end": "2021-01-22T08:00:00Z"}),
    ],
    "deaths of a Patient": [
        PATIENT,
        PATIENT | {"deceasedDateTime": "2020-01-15T10:00:00Z"},
        PATIENT | {"deceasedDateTime": "2021-07-15T10:00:00Z"},
        PATIENT | {"deceasedBoolean": True},
        PATIENT | {"deceasedBoolean": False},
    ],
}


def labels(folder, lines, **settings):
    """What every task answers, None where it is open, by subject, task and time of the question."""
    folder.mkdir()
    result = ingest_lines(folder, *lines, patient=False, **settings)
    events = pa.concat_tables(result.writer.tables)
    return {
        (subject, task, outcome.prediction_time): outcome.value
        for subject in set(events["subject_id"].to_pylist())
        for task in names("tasks")
        for outcome in find("tasks", task).label(
            record_from_events(events.filter(pc.equal(events["subject_id"], subject)), FOLLOW_UP)
        )
        if outcome.eligible
    }


@pytest.mark.parametrize("name", list(VERSIONS))
def test_labels_hold_only_where_each_of_the_undecided_lines_alone_gives_them(tmp_path, name):
    versions = VERSIONS[name]
    ids = {one["id"] for one in versions}
    rest = [one for one in (PATIENT, EARLIER, encounter(), LATER) if one["id"] not in ids]
    alone = [labels(tmp_path / f"alone{i}", [*rest, one]) for i, one in enumerate(versions)]
    assert any(a != b for a, b in itertools.combinations(alone, 2))  # the versions matter
    for number, both in enumerate(itertools.permutations(versions, 2)):
        found = labels(tmp_path / f"both{number}", [*rest, *both])
        for one in (alone[versions.index(version)] for version in both):
            wrong = {q for q, value in found.items() if value is not None and one.get(q, value) is not value}
            assert not wrong


BO = PATIENT | {"id": "bo", "gender": "male", "birthDate": "1950-04-05"}
OF_BO = {"subject": {"reference": "Patient/bo"}}


@pytest.mark.parametrize(
    "kind",
    [
        condition(),
        observation(),
        resource(
            "Procedure", code=concept("p"), status="completed", performedDateTime="2020-01-02T00:00:00Z"
        ),
    ],
    ids=lambda kind: kind["resourceType"],
)
@pytest.mark.parametrize("meta", [{}, {"lastUpdated": "2021-01-01T00:00:00Z"}])
def test_an_id_that_names_records_of_two_patients_is_refused(tmp_path, kind, meta):
    moved = {name: "2020-05-05T00:00:00Z" for name in kind if name.endswith("DateTime")}
    other = kind | OF_BO | (moved | {"meta": meta} if meta else {})
    with pytest.raises(DataError, match="1 other ids of this export each name two different people"):
        ingest_lines(tmp_path, BO, kind, other)


def test_a_correction_that_gives_a_record_to_another_patient_is_followed(tmp_path):
    wrong = condition() | {"meta": {"versionId": "1"}}
    right = condition() | OF_BO | {"meta": {"versionId": "2"}}
    result = ingest_lines(tmp_path, BO, wrong, right)
    assert [event["code"] for event in result.of("diagnosis")] == ["ICD10CM//I10"]
    assert not result.of("outcome")


def test_a_diagnosis_of_one_of_two_patients_is_open_for_both(tmp_path):
    lines = [PATIENT, BO, encounter(), encounter(id="e9", **OF_BO)]
    without = labels(tmp_path / "without", lines)
    both = [condition(), condition() | OF_BO]
    for number, order in enumerate([both, both[::-1]]):
        found = labels(tmp_path / f"{number}", [*lines, *order], one_server=True)
        open_now = {question for question in without if "hypertension" in question[1]}
        assert open_now
        assert found == without | dict.fromkeys(open_now)


@pytest.mark.parametrize("name", list(VERSIONS))
def test_three_undecided_lines_and_one_that_comes_again_leave_no_more_labels_than_two(tmp_path, name):
    first, second, *others = VERSIONS[name]
    rest = [one for one in (PATIENT, EARLIER, encounter(), LATER) if one["id"] != first["id"]]
    two = answered(labels(tmp_path / "two", [*rest, first, second]))
    for number, lines in enumerate(
        [(first, second, first), (first, second, second), (second, *others, first)]
    ):
        found = answered(labels(tmp_path / f"{number}", [*rest, *lines]))
        assert found.items() <= (two if first in lines and second in lines else found).items()


@pytest.mark.parametrize("name", list(VERSIONS))
@pytest.mark.parametrize("last", [False, True])
def test_a_later_version_decides_what_two_older_lines_left_open(tmp_path, name, last):
    older, other, *_ = (one | {"meta": {"versionId": "1"}} for one in VERSIONS[name])
    newest = VERSIONS[name][0] | {"meta": {"versionId": "2"}}
    rest = [one for one in (PATIENT, EARLIER, encounter(), LATER) if one["id"] != newest["id"]]
    lines = [older, other, newest] if last else [newest, older, other]
    assert labels(tmp_path / "three", [*rest, *lines]) == labels(tmp_path / "one", [*rest, newest])


def answered(found):
    """The labels that are True or False."""
    return {question: value for question, value in found.items() if value is not None}
