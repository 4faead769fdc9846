"""Links between records: which stay an encounter is part of, whose record is whose, and which server's."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chartscan.errors import DataError
from fhir_export import (
    PATIENT,
    SNOMED,
    concept,
    encounter,
    ingest,
    ingest_lines,
    observation,
    resource,
    subject,
)

AT = {"encounter": {"reference": "Encounter/e1"}}
BO = {"resourceType": "Patient", "id": "bo", "gender": "male", "birthDate": "2019-12-30"}
BY_BO = {"subject": {"reference": "Patient/bo"}}
DAY = "2020-01-0{}T12:00:00Z"


def part_of(whole, **fields):
    return encounter(partOf={"reference": f"Encounter/{whole}"}, **fields)


def span(first, last):
    return {"start": DAY.format(first), "end": DAY.format(last)}


def left(code):
    return {"dischargeDisposition": concept(code, "http://here.org/where")}


def stays(result):
    """(encounter, day of admission, day of discharge, how) of each stay."""
    ends = {e["encounter_id"]: e for e in result.of("discharge")}
    found = []
    for start in result.of("admission"):
        end = ends.get(start["encounter_id"])
        how = (end["time"].day, end["code"].partition("//")[2]) if end else (None, None)
        found.append((start["encounter_id"], start["time"].day, *how))
    return sorted(found)


# partOf


def test_a_newborn_within_the_mothers_encounter_has_a_stay_of_its_own(tmp_path):
    result = ingest_lines(tmp_path, BO, encounter(), part_of("e1", id="cradle", **BY_BO, period=span(2, 4)))
    assert [s[0] for s in stays(result)] == ["cradle", "e1"]
    assert result.accounting["flagged"]["part_of_another_patients_encounter"] == 1


def test_wards_at_any_depth_are_moves_within_the_top_most_stay(tmp_path):
    lines = [encounter(), *(part_of(f"e{i}", id=f"e{i + 1}") for i in range(1, 200))]
    for order in (lines, lines[::-1]):
        result = ingest_lines(tmp_path, *order)
        assert [s[0] for s in stays(result)] == ["e1"]
        assert len(result.of("visit_start")) == 199


def test_an_undated_case_spans_its_wards_and_ends_as_the_last_of_them(tmp_path):
    wards = [
        part_of("case", id="w1", period=span(1, 3), hospitalization=left("other-hcf")),
        part_of("case", id="w2", period=span(3, 7), hospitalization=left("home")),
    ]
    result = ingest_lines(tmp_path, encounter(id="case", period=None), *wards)
    assert stays(result) == [("case", 1, 7, "HOME")]
    assert result.accounting["flagged"]["stay_dated_by_its_wards"] == 1


def test_an_undated_case_is_open_where_its_last_ward_is(tmp_path):
    wards = [
        part_of("case", id="w1", period=span(1, 3)),
        part_of("case", id="w2", period={"start": DAY.format(3)}),
    ]
    assert stays(ingest_lines(tmp_path, encounter(id="case", period=None), *wards)) == [
        ("case", 1, None, None)
    ]


def test_an_undated_case_ends_no_earlier_than_a_ward_of_unknown_start(tmp_path):
    wards = [
        part_of("case", id="w1", period=span(1, 3)),
        part_of("case", id="w2", period={"start": "soon", "end": DAY.format(7)}),
    ]
    result = ingest_lines(tmp_path, encounter(id="case", period=None), *wards)
    assert stays(result)[0][:3] == ("case", 1, 7)


@pytest.mark.parametrize(
    ("case", "part", "said"),
    [
        (None, {"class": {"code": "EMER"}}, "EXPIRED"),
        (None, {"class": {"code": "AMB"}}, "EXPIRED"),
        (None, {"class": {"code": "Q7"}}, "EXPIRED"),
        (None, {"status": "storniert"}, "CONFLICTING"),  # maybe no part at all
        (None, {"status": "cancelled"}, "UNKNOWN"),
        ("home", {"class": {"code": "EMER"}}, "CONFLICTING"),
        ("home", {"status": "storniert"}, "CONFLICTING"),
        ("exp", {"status": "storniert"}, "EXPIRED"),
        (None, {"hospitalization": left("B7")}, "B7"),
        ("B8", {"hospitalization": left("B7")}, "B8"),
        ("B8", {"hospitalization": left("home")}, "HOME"),
        ("home", {"hospitalization": left("B7")}, "HOME"),
    ],
)
def test_what_any_part_of_a_stay_says_of_death_and_cannot_be_understood_counts(tmp_path, case, part, said):
    whole = encounter(**({"hospitalization": left(case)} if case else {}))
    ward = part_of("e1", **{"id": "w", "period": span(2, 4), "hospitalization": left("exp")} | part)
    for lines in ([whole, ward], [ward, whole]):
        assert stays(ingest_lines(tmp_path, *lines)) == [("e1", 1, 5, said)]


def test_a_case_without_dated_wards_is_filtered(tmp_path):
    result = ingest_lines(tmp_path, encounter(id="case", period=None), part_of("case", id="w", period=None))
    assert result.total("filtered") == {"undated": 2}


@pytest.mark.parametrize(
    ("case", "ward", "said"),
    [
        (None, "exp", "EXPIRED"),
        ("home", "exp", "CONFLICTING"),
        ("exp", "home", "EXPIRED"),
        ("home", "snf", "HOME"),
        (None, None, "UNKNOWN"),
    ],
)
def test_how_a_stay_ended_is_read_from_its_wards_too(tmp_path, case, ward, said):
    whole = encounter(hospitalization=left(case) if case else None)
    part = part_of("e1", id="w", period=span(2, 5), hospitalization=left(ward) if ward else None)
    assert ingest_lines(tmp_path, whole, part).one("discharge")["code"] == f"HOSPITAL_DISCHARGE//{said}"


@pytest.mark.parametrize("ring", [["a"], ["a", "b"], ["a", "b", "c", "d"]])
def test_a_cycle_of_parts_is_one_stay_from_its_earliest_member_and_flagged(tmp_path, ring):
    lines = [
        part_of(ring[(i + 1) % len(ring)], id=name, period=span(1 + i, 9 - i)) for i, name in enumerate(ring)
    ]
    result = ingest_lines(tmp_path, *lines, part_of("a", id="below", period=span(4, 5)))
    assert stays(result) == [("a", 1, 9, "UNKNOWN")]
    assert result.accounting["flagged"]["part_of_cycle"] == len(ring)


def test_a_part_of_something_missing_is_a_move_only_within_another_stay(tmp_path):
    inside = part_of("gone", id="in", period=span(2, 4))
    outside = part_of("gone", id="out", period=span(8, 9))
    result = ingest_lines(tmp_path, encounter(), inside, outside)
    assert [s[0] for s in stays(result)] == ["e1", "out"]


def test_a_stay_within_an_outpatient_case_stays_a_stay(tmp_path):
    result = ingest_lines(tmp_path, encounter(id="case", **{"class": {"code": "AMB"}}), part_of("case"))
    assert [s[0] for s in stays(result)] == ["e1"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(-1, 8), st.sampled_from(["ana", "bo"]), st.sampled_from(["IMP", "AMB"])),
        min_size=1,
        max_size=8,
    )
)
def test_every_dated_encounter_opens_once_whatever_it_is_part_of(tmp_path, links):
    lines = [
        encounter(
            id=f"e{i}",
            subject={"reference": f"Patient/{who}"},
            partOf={"reference": f"Encounter/e{parent}"} if parent >= 0 else None,
            **{"class": {"code": kind}},
        )
        for i, (parent, who, kind) in enumerate(links)
    ]
    result = ingest_lines(tmp_path, BO, *lines)
    opened = [e["encounter_id"] for e in result.of("admission") + result.of("visit_start")]
    assert sorted(opened) == sorted(line["id"] for line in lines)
    for who in ("ana", "bo"):  # who was in hospital at all has a stay
        if any(kind == "IMP" and person == who for _, person, kind in links):
            assert any(e["subject_id"] == subject(who) for e in result.of("admission"))


# Encounters of others


@pytest.mark.parametrize(
    ("kind", "fields", "event_type"),
    [
        ("Observation", AT | {"effectiveDateTime": "2020-01-02T10:00:00Z"}, "observation"),
        ("Condition", AT | {"recordedDate": "2020-01-02T10:00:00Z"}, "diagnosis"),
        ("Procedure", AT | {"performedDateTime": "2020-01-02T10:00:00Z"}, "procedure"),
        ("MedicationRequest", AT | {"authoredOn": "2020-01-02T10:00:00Z"}, "medication_request"),
        ("Immunization", AT | {"occurrenceDateTime": "2020-01-02T10:00:00Z"}, "immunization"),
    ],
)
def test_an_event_in_an_encounter_of_another_patient_loses_it_and_is_flagged(
    tmp_path, kind, fields, event_type
):
    result = ingest_lines(tmp_path, BO, encounter(**BY_BO), resource(kind, **fields))
    assert result.one(event_type)["encounter_id"] is None
    assert result.accounting["flagged"]["encounter_of_another_patient"] == 1


def test_an_undated_diagnosis_does_not_take_the_time_of_another_patients_stay(tmp_path):
    result = ingest_lines(tmp_path, BO, encounter(**BY_BO), resource("Condition", **AT))
    assert result.one("outcome")["time"] is None


# Encounter.diagnosis


def test_a_diagnosis_belongs_to_the_encounter_that_names_it(tmp_path):
    named = [{"condition": {"reference": "https://server/Condition/x1"}, "rank": 1}]
    stay = encounter(diagnosis=named)
    late = resource("Condition", recordedDate="2020-01-09T08:00:00Z")
    for line in (resource("Condition"), late):
        event = ingest_lines(tmp_path, stay, line).one("diagnosis")
        assert event["encounter_id"] == "e1"
    others = ingest_lines(tmp_path, BO, encounter(diagnosis=named, **BY_BO), late)
    assert others.one("diagnosis")["encounter_id"] is None
    assert others.accounting["flagged"]["encounter_of_another_patient"] == 1


@pytest.mark.parametrize("diagnosis", [None, [{"condition": [{"reference": {}}]}], "x", [{}], [7]])
def test_a_diagnosis_link_of_another_shape_costs_nothing(tmp_path, diagnosis):
    line = encounter() | {"diagnosis": diagnosis}
    assert len(ingest_lines(tmp_path, line).of("admission")) == 1


def test_a_diagnosis_that_several_encounters_name_belongs_to_the_first_of_them(tmp_path):
    named = {"diagnosis": [{"condition": {"reference": "Condition/x1"}}]}
    visits = [
        encounter(id="late", period=span(8, 9), **named),
        encounter(id="early", period=span(1, 2), **named),
        encounter(id="first", period={"start": "2019-01-01"}, status="cancelled", **named),
        encounter(id="middle", period=span(4, 5), **named),
    ]
    for order in (visits, visits[::-1]):
        result = ingest_lines(tmp_path, *order, resource("Condition", code=concept("I10")))
        assert result.one("diagnosis")["encounter_id"] == "early"


def test_a_link_of_an_older_version_of_the_encounter_does_not_count(tmp_path):
    named = [{"condition": {"reference": "Condition/x1"}}]
    old = encounter(diagnosis=named, meta={"versionId": "1"})
    result = ingest_lines(tmp_path, old, encounter(meta={"versionId": "2"}), resource("Condition"))
    assert result.one("outcome")["encounter_id"] is None


# Patient.link


def replaced(old, new, **fields):
    link = [{"other": {"reference": f"Patient/{new}"}, "type": "replaced-by"}]
    return {"resourceType": "Patient", "id": old, "link": link} | fields


def told(result):
    rows = [row for table in result.writer.subject_tables for row in table.to_pylist()]
    return {row["patient_id"]: (row["subject_id"], row["merged_into"]) for row in rows}


def test_a_replaced_patient_is_followed_to_the_last_record(tmp_path):
    chain = [replaced("a", "b", birthDate="1950"), replaced("b", "ana", deceasedBoolean=True)]
    result = ingest_lines(tmp_path, *chain, encounter(subject={"reference": "Patient/a"}), encounter(id="e2"))
    assert {e["subject_id"] for e in result.events} == {subject("ana")}
    assert told(result) == {
        "ana": (subject("ana"), None),
        "a": (subject("ana"), "ana"),
        "b": (subject("ana"), "ana"),
    }
    assert len(result.of("birth")) == len(result.of("death")) == 1
    assert result.accounting["flagged"]["merged_patient"] == 2


def test_a_patient_that_replaces_another_is_followed_too(tmp_path):
    new = BO | {"link": [{"other": {"reference": "Patient/ana"}, "type": "replaces"}]}
    result = ingest_lines(tmp_path, new, encounter())
    assert result.one("admission")["subject_id"] == subject("bo")


@pytest.mark.parametrize("kind", ["seealso", "refer"])
def test_other_links_merge_nobody(tmp_path, kind):
    line = BO | {"link": [{"other": {"reference": "Patient/ana"}, "type": kind}]}
    assert told(ingest_lines(tmp_path, line))["bo"] == (subject("bo"), None)


def test_a_cycle_of_replaced_patients_is_quarantined_with_all_that_is_theirs(tmp_path):
    ring = [replaced("a", "b"), replaced("b", "c"), replaced("c", "a"), replaced("into", "a")]
    lines = [encounter(id=name, subject={"reference": f"Patient/{name}"}) for name in ("a", "into")]
    result = ingest_lines(tmp_path, *ring, *lines, observation())
    assert result.total("quarantined") == {"B29 merge_cycle": 6}
    assert {e["subject_id"] for e in result.events} == {subject("ana")}


def test_a_patient_replaced_by_two_or_by_nobody_known_stays_and_is_flagged(tmp_path):
    both = replaced("a", "ana")
    both["link"] += replaced("a", "bo")["link"]
    result = ingest_lines(tmp_path, BO, both, replaced("d", "nobody"))
    assert told(result)["a"] == (subject("a"), None)
    assert told(result)["d"] == (subject("d"), None)
    flagged = result.accounting["flagged"]
    assert (flagged["merged_into_two"], flagged["merged_into_unknown"]) == (1, 1)


def test_patients_that_share_a_record_number_are_flagged_and_not_merged(tmp_path):
    number = {"identifier": [{"system": "http://here.org/mrn", "value": "417"}]}
    other = {"identifier": [{"system": "http://there.org/mrn", "value": "417"}]}
    result = ingest_lines(tmp_path, BO | number, BO | number | {"id": "cy"}, BO | other | {"id": "di"})
    assert result.accounting["flagged"]["shared_identifier"] == 2
    assert len({e["subject_id"] for e in result.events}) == 4
    merged = ingest_lines(tmp_path, BO | number, replaced("cy", "bo", **number))
    assert "shared_identifier" not in merged.accounting["flagged"]


# Two servers


def folders(tmp_path, **contents):
    """An export of several folders: name -> resources."""
    for name, lines in contents.items():
        folder = tmp_path / "export" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "all.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "export"


OTHER = PATIENT | {"gender": "male", "birthDate": "1990-07-07"}
NUMBERED = {"identifier": [{"system": "mrn", "value": "1"}]}


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (PATIENT, OTHER),
        (PATIENT | {"meta": {"versionId": "1"}}, OTHER | {"meta": {"versionId": "1"}}),
        (
            PATIENT | {"name": [{"family": "Berg"}]},
            PATIENT | {"name": [{"family": "Dahl"}], "birthDate": "1990-07-07"},
        ),
        (PATIENT | NUMBERED, OTHER | {"gender": "female", "identifier": [{"system": "mrn", "value": "2"}]}),
        (
            PATIENT | {"meta": {"source": "http://a#1"}},
            PATIENT | {"meta": {"source": "http://b#2"}, "birthDate": "1990"},
        ),
    ],
)
def test_two_people_under_one_id_are_refused_with_the_remedy(tmp_path, here, there):
    export = folders(tmp_path, north=[here], south=[there])
    with pytest.raises(DataError, match=r"1 patient ids.*namespace.*one_server"):
        ingest(export, tmp_path)
    assert ingest(export, tmp_path / "again", one_server=True).of("birth")


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (PATIENT, PATIENT | {"gender": "male"}),
        (PATIENT | NUMBERED, OTHER | NUMBERED),
        (PATIENT, {"resourceType": "Patient", "id": "ana"}),
        (PATIENT, PATIENT | {"birthDate": "1950", "gender": "F", "active": True}),
    ],
)
def test_versions_of_one_person_are_merged(tmp_path, here, there):
    assert len(ingest(folders(tmp_path, a=[here], b=[there]), tmp_path).of("static")) <= 1


def test_an_encounter_id_of_two_patients_is_refused_unless_it_was_moved(tmp_path):
    here, there = encounter(), encounter(**BY_BO, period=span(6, 7))
    with pytest.raises(DataError, match="1 encounter ids"):
        ingest_lines(tmp_path, BO, here, there)
    moved = encounter(**BY_BO, meta={"versionId": "2"})
    result = ingest_lines(tmp_path, BO, here | {"meta": {"versionId": "1"}}, moved)
    assert result.one("admission")["subject_id"] == subject("bo")


def test_one_id_referred_to_on_two_servers_is_refused(tmp_path):
    lines = [
        observation(id=name, subject={"reference": f"https://{name}.org/fhir/Patient/ana"})
        for name in ("north", "south")
    ]
    with pytest.raises(DataError, match="two servers"):
        ingest_lines(tmp_path, *lines)
    assert len(ingest_lines(tmp_path, *lines, one_server=True).of("observation")) == 2
    same = [line | {"subject": {"reference": "HTTPS://North.org/fhir/Patient/ana"}} for line in lines]
    assert len(ingest_lines(tmp_path, lines[0], same[1]).of("observation")) == 2


# modifierExtension


@pytest.mark.parametrize(
    "line",
    [
        encounter(id="m"),
        observation(),
        resource("Condition", recordedDate="2020-01-02"),
        resource("Procedure", performedDateTime="2020-01-02", code=concept("1", SNOMED)),
        resource("Immunization", occurrenceDateTime="2020-01-02"),
        resource("AllergyIntolerance", recordedDate="2020-01-02"),
        resource("MedicationRequest", authoredOn="2020-01-02"),
        resource("MedicationStatement", dateAsserted="2020-01-02"),
        BO,
    ],
)
def test_an_unknown_modifier_extension_quarantines_its_record_b38(tmp_path, line):
    changed = line | {"modifierExtension": [{"url": "http://here.org/not", "valueBoolean": True}]}
    about = observation(id="o9", subject={"reference": f"Patient/{line['id']}"}) if line is BO else None
    result = ingest_lines(tmp_path, changed, *([about] if about else []))
    assert result.total("quarantined")["B38 modifier_extension"] == 1
    assert result.total("quarantined")["B28 unknown_patient"] == (line is BO)
    harmless = ingest_lines(tmp_path, changed, harmless_modifiers=("http://here.org/not",))
    assert not harmless.total("quarantined")
