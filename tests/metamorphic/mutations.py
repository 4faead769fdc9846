"""What other hospitals, servers and tools do to an export: each as a change of the resources or of the files.

`KEEPS` must keep every label. `TOUCHES` may change only the subjects it returns. `UNDECLARED` uses words that
are not known: labels may get lost, and none may turn round.
"""

import base64
import gzip
import json
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hospital_export import EXPORTED, Hospital, every, manifest, patient_of, stays, write

_V3 = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
_DISPOSITIONS = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z$")

Change = Callable[[Hospital], None]
Layout = Callable[[Hospital, Path], Path]
KEEPS: dict[str, Change] = {}
FILES: dict[str, Layout] = {}
TOUCHES: dict[str, Callable[[Hospital], set[str]]] = {}
UNDECLARED: dict[str, tuple[Change, str]] = {}


def keeps(change: Change) -> Change:
    KEEPS[change.__name__] = change
    return change


def layout(change: Layout) -> Layout:
    FILES[change.__name__] = change
    return change


def touches(change: Callable[[Hospital], set[str]]) -> Callable[[Hospital], set[str]]:
    TOUCHES[change.__name__] = change
    return change


# --- the same resources in other files ------------------------------------------------------------------


@layout
def lines_in_another_order(hospital: Hospital, folder: Path) -> Path:
    rng = random.Random(1)
    for many in hospital.resources.values():
        rng.shuffle(many)
    hospital.resources = dict(reversed(hospital.resources.items()))
    return write(hospital, folder)


@layout
def every_type_split_over_three_files(hospital: Hospital, folder: Path) -> Path:
    folder.mkdir()
    for kind, many in hospital.resources.items():
        for part in range(3):
            text = "".join(json.dumps(one) + "\n" for one in many[part::3])
            (folder / f"{kind}.{part:03}.ndjson").write_text(text)
    manifest(folder)
    return folder


@layout
def all_types_in_one_file(hospital: Hospital, folder: Path) -> Path:
    folder.mkdir()
    (folder / "export.ndjson").write_text("".join(json.dumps(one) + "\n" for one in hospital.all()))
    manifest(folder)
    return folder


@layout
def compressed_in_folders(hospital: Hospital, folder: Path) -> Path:
    for kind, many in hospital.resources.items():
        (folder / kind).mkdir(parents=True)
        text = "".join(json.dumps(one) + "\n" for one in many)
        (folder / kind / "part.ndjson.gz").write_bytes(gzip.compress(text.encode()))
    manifest(folder)
    return folder


@layout
def windows_lines_blank_lines_and_byte_order_marks(hospital: Hospital, folder: Path) -> Path:
    folder.mkdir()
    for kind, many in hospital.resources.items():
        text = "\r\n\r\n".join(json.dumps(one) for one in many)
        (folder / f"{kind}.ndjson").write_bytes(b"\xef\xbb\xbf" + text.encode())
    manifest(folder)
    return folder


@layout
def the_same_files_twice(hospital: Hospital, folder: Path) -> Path:
    write(hospital, folder)
    for file in list(folder.glob("*.ndjson")):
        (folder / f"{file.stem}.copy.ndjson").write_bytes(file.read_bytes())
    return folder


@layout
def a_bundle_of_each_patient(hospital: Hospital, folder: Path) -> Path:
    folder.mkdir()
    by_patient: dict[str, list[dict[str, Any]]] = {}
    for one in hospital.all():
        by_patient.setdefault(patient_of(one), []).append({"resource": one})
    for name, entries in by_patient.items():
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        (folder / f"{name}.json").write_text(json.dumps(bundle, indent=1))
    manifest(folder)
    return folder


@layout
def bundles_as_lines(hospital: Hospital, folder: Path) -> Path:
    folder.mkdir()
    everything = hospital.all()
    bundles = [everything[at : at + 50] for at in range(0, len(everything), 50)]
    lines = [
        json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in b]})
        for b in bundles
    ]
    (folder / "bundles.ndjson").write_text("\n".join(lines))
    manifest(folder)
    return folder


@layout
def conditions_wrapped_in_a_binary(hospital: Hospital, folder: Path) -> Path:
    write(hospital, folder)
    file = folder / "Condition.ndjson"
    data = base64.b64encode(file.read_bytes()).decode()
    binary = {"resourceType": "Binary", "contentType": "application/fhir+ndjson", "data": data}
    file.write_text(json.dumps(binary) + "\n")
    return folder


@layout
def other_extensions_and_files_of_the_tools(hospital: Hospital, folder: Path) -> Path:
    write(hospital, folder)
    (folder / "Condition.ndjson").rename(folder / "Condition.jsonl")
    (folder / "Encounter.ndjson").rename(folder / "Encounter.NDJSON")
    (folder / "._Patient.ndjson").write_bytes(b"\x00\x05\x16\x07Mac OS X" + bytes(60))
    log = {"exportId": "x", "eventId": "status_complete", "eventDetail": {"transactionTime": EXPORTED}}
    (folder / "log.ndjson").write_text(json.dumps(log) + "\n")
    return folder


# --- the same facts in other words ----------------------------------------------------------------------


def _times(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _times(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [_times(one, change) for one in value]
    return change(value) if isinstance(value, str) and _TIME.match(value) else value


def _in_zone(hours: int, minutes: int) -> Change:
    from datetime import datetime, timedelta, timezone

    zone = timezone(timedelta(hours=hours, minutes=minutes))

    def change(hospital: Hospital) -> None:
        def moved(text: str) -> str:
            return datetime.fromisoformat(text).astimezone(zone).isoformat()

        hospital.resources = _times(hospital.resources, moved)

    change.__name__ = f"times_at_{hours:+}_{minutes}"
    return change


keeps(_in_zone(5, 30))
keeps(_in_zone(-8, 0))


@keeps
def fractions_of_seconds(hospital: Hospital) -> None:
    hospital.resources = _times(hospital.resources, lambda text: text[:-1] + ".000Z")


@keeps
def times_without_an_offset_in_the_zone_of_the_site(hospital: Hospital) -> None:
    hospital.resources = _times(hospital.resources, lambda text: text[:-1])
    hospital.settings = ["time_zone=UTC"]


@keeps
def absolute_and_versioned_references(hospital: Hospital) -> None:
    for one in hospital.all():
        for name in ("subject", "patient", "encounter"):
            if name in one:
                one[name]["reference"] = f"https://fhir.example.org/r4/{one[name]['reference']}/_history/2"


@keeps
def unknown_types_fields_and_extensions(hospital: Hospital) -> None:
    hospital.resources["CarePlan"] = [{"resourceType": "CarePlan", "id": "x", "status": "active"}]
    for one in hospital.all():
        one["extension"] = [*one.get("extension", []), {"url": "urn:other", "valueString": "x"}]
        one["text"] = {"status": "generated", "div": "<div>words</div>"}


def _diagnoses(system: str, dots: bool = False) -> Change:
    def change(hospital: Hospital) -> None:
        for condition in hospital.resources["Condition"]:
            for coding in condition["code"]["coding"]:
                code = coding["code"].replace(".", "")
                coding["system"] = system
                coding["code"] = f"{code[:3]}.{code[3:]}" if dots and len(code) > 3 else code

    change.__name__ = f"diagnoses_as_{system}{'_with_dots' if dots else ''}"
    return change


for _system in (
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm",
    "http://fhir.de/CodeSystem/dimdi/icd-10-gm",
    "http://hl7.org/fhir/sid/icd-10",
    "https://fhir.infoway-inforoute.ca/CodeSystem/icd-10-ca",
    "http://hl7.org/fhir/sid/icd-10-am",
    "urn:oid:2.16.840.1.113883.6.90",
    "ICD-10-CM",
    "ICD10CM",
):
    keeps(_diagnoses(_system))
keeps(_diagnoses("http://fhir.de/CodeSystem/bfarm/icd-10-gm", dots=True))


@keeps
def a_local_diagnosis_code_before_the_standard_one(hospital: Hospital) -> None:
    for condition in hospital.resources["Condition"]:
        condition["code"]["coding"].insert(0, {"system": "urn:local:diagnosis", "code": "D17"})


@keeps
def classes_in_lower_case(hospital: Hospital) -> None:
    for encounter in hospital.resources["Encounter"]:
        encounter["class"]["code"] = encounter["class"]["code"].lower()


@keeps
def classes_by_display_only(hospital: Hospital) -> None:
    for encounter in hospital.resources["Encounter"]:
        encounter["class"] = {"display": encounter["class"]["display"]}


@keeps
def encounters_of_r5(hospital: Hospital) -> None:
    for encounter in hospital.resources["Encounter"]:
        encounter["class"] = [{"coding": [encounter["class"]]}]
        encounter["status"] = "completed"
        encounter["actualPeriod"] = encounter.pop("period")
        if "hospitalization" in encounter:
            encounter["admission"] = encounter.pop("hospitalization")


@keeps
def classes_by_oid(hospital: Hospital) -> None:
    for encounter in hospital.resources["Encounter"]:
        encounter["class"]["system"] = "urn:oid:2.16.840.1.113883.5.4"


def _dispositions(hospital: Hospital, change: Callable[[dict[str, Any], str], None]) -> None:
    for stay in stays(hospital):
        concept = stay["hospitalization"]["dischargeDisposition"]
        change(concept, concept["coding"][0]["code"])


@keeps
def a_local_disposition_before_the_standard_one(hospital: Hospital) -> None:
    local = {"system": "urn:local:disposition", "code": "07"}
    _dispositions(hospital, lambda concept, _: concept["coding"].insert(0, dict(local)))


@keeps
def a_local_disposition_after_the_standard_one(hospital: Hospital) -> None:
    local = {"system": "urn:local:disposition", "code": "07"}
    _dispositions(hospital, lambda concept, _: concept["coding"].append(dict(local)))


@keeps
def dispositions_as_discharge_status(hospital: Hospital) -> None:
    nubc = {"exp": "20", "home": "01", "snf": "03", "rehab": "62"}
    system = "https://www.nubc.org/CodeSystem/PatDischargeStatus"

    def change(concept: dict[str, Any], code: str) -> None:
        concept["coding"] = [{"system": system, "code": nubc.get(code, "01")}]

    _dispositions(hospital, change)


@keeps
def dispositions_by_words_only(hospital: Hospital) -> None:
    def change(concept: dict[str, Any], code: str) -> None:
        concept.pop("coding")
        concept["text"] = "Expired" if code == "exp" else "Home"

    _dispositions(hospital, change)


@keeps
def other_words_for_sex(hospital: Hospital) -> None:
    for patient in hospital.resources["Patient"]:
        patient["gender"] = {"male": "M", "female": " Female "}.get(patient["gender"], patient["gender"])


@keeps
def wards_within_each_stay(hospital: Hospital) -> None:
    for stay in stays(hospital):
        ward = json.loads(json.dumps(stay)) | {"id": f"{stay['id']}-ward"}
        ward.pop("hospitalization")
        ward["partOf"] = {"reference": f"Encounter/{stay['id']}"}
        hospital.resources["Encounter"].append(ward)


@keeps
def older_versions_beside_the_valid_ones(hospital: Hospital) -> None:
    for stay in stays(hospital):
        stay["meta"] = {"versionId": "3"}
        older = json.loads(json.dumps(stay)) | {"meta": {"versionId": "2"}}
        older["hospitalization"]["dischargeDisposition"]["coding"][0]["code"] = "exp"
        hospital.resources["Encounter"].append(older)
    for condition in every(hospital.resources["Condition"], 3):
        condition["meta"] = {"versionId": "12"}
        older = json.loads(json.dumps(condition)) | {"meta": {"versionId": "9"}}
        older["code"]["coding"][0]["code"] = "I10"
        hospital.resources["Condition"].insert(0, older)


@keeps
def diagnoses_linked_by_the_encounter(hospital: Hospital) -> None:
    by_id = {e["id"]: e for e in hospital.resources["Encounter"]}
    for condition in hospital.resources["Condition"]:
        encounter = by_id[condition.pop("encounter")["reference"].removeprefix("Encounter/")]
        link = {"condition": {"reference": f"Condition/{condition['id']}"}}
        encounter.setdefault("diagnosis", []).append(link)


# --- words that the site declares ------------------------------------------------------------------------


@keeps
def declared_classes(hospital: Hospital) -> None:
    words = {"IMP": "stationaer", "AMB": "5", "EMER": "notfall"}
    for encounter in hospital.resources["Encounter"]:
        encounter["class"] = {"system": "urn:local:class", "code": words[encounter["class"]["code"]]}
    hospital.site = 'vocabulary:\n  class:\n    stationaer: stay\n    "5": other\n    notfall: emergency\n'


@keeps
def declared_dispositions(hospital: Hospital) -> None:
    def change(concept: dict[str, Any], code: str) -> None:
        concept["coding"] = [{"system": "urn:local:disposition", "code": "07" if code == "exp" else "01"}]

    _dispositions(hospital, change)
    hospital.site = 'vocabulary:\n  disposition:\n    "07": dead\n    "01": alive\n'


@keeps
def a_declared_system_of_diagnoses(hospital: Hospital) -> None:
    _diagnoses("urn:local:diagnoses")(hospital)
    hospital.site = "vocabulary:\n  systems:\n    urn:local:diagnoses: ICD10CM\n"


def _concepts(hospital: Hospital) -> dict[str, str]:
    """A concept in no list for every code of a diagnosis."""
    codes = {c["code"]["coding"][0]["code"] for c in hospital.resources["Condition"]}
    return {code: f"90000{number:04}" for number, code in enumerate(sorted(codes))}


@keeps
def declared_concepts_of_snomed(hospital: Hospital) -> None:
    groups = {
        "hypertension": ("I10", "I11", "I12", "I13", "I14", "I15", "I16"),
        "fluid_disorder": ("E86", "E87"),
        "lipid_disorder": ("E78",),
    }
    concepts = _concepts(hospital)
    hospital.site = "vocabulary:\n  diagnoses:\n"
    for code, concept in concepts.items():
        meaning = next((name for name, starts in groups.items() if code.startswith(starts)), "none")
        hospital.site += f"    SNOMED|{concept}: {meaning}\n"
    for condition in hospital.resources["Condition"]:
        (coding,) = condition["code"]["coding"]
        coding |= {"system": "http://snomed.info/sct", "code": concepts[coding["code"]]}


# --- words that nobody declares ------------------------------------------------------------------------


def _undeclared(
    name: str, word: str, share: int, change: Callable[[dict[str, Any]], None], kind: str
) -> None:
    def changed(hospital: Hospital) -> None:
        for one in every(hospital.resources[kind], share):
            change(one)

    UNDECLARED[f"{name}, one in {share}" if share > 1 else name] = changed, word


def _class(encounter: dict[str, Any]) -> None:
    encounter["class"] = {"system": "urn:local:class", "code": "Q7"}


def _disposition(encounter: dict[str, Any]) -> None:
    if "hospitalization" in encounter:
        coding = {"system": "urn:local:disposition", "code": "W9"}
        encounter["hospitalization"]["dischargeDisposition"] = {"coding": [coding]}


def _diagnosis(condition: dict[str, Any]) -> None:
    for coding in condition["code"]["coding"]:
        coding["system"] = "urn:local:diagnoses"


def _concept(condition: dict[str, Any]) -> None:
    for coding in condition["code"]["coding"]:
        coding |= {"system": "http://snomed.info/sct", "code": "900000001"}


def _status(condition: dict[str, Any]) -> None:
    condition["verificationStatus"] = {"coding": [{"system": "urn:local:status", "code": "K3"}]}


for _share in (1, 3, 50):
    _undeclared("a status of diagnoses that is not known", "K3", _share, _status, "Condition")
    _undeclared("SNOMED concepts in no list", "900000001", _share, _concept, "Condition")
    _undeclared("a class that is not known", "Q7", _share, _class, "Encounter")
    _undeclared("a disposition that is not known", "W9", _share, _disposition, "Encounter")
    _undeclared(
        "a system of diagnoses that is not known", "urn:local:diagnoses", _share, _diagnosis, "Condition"
    )


def _deaths_told_in_words_that_are_not_known(hospital: Hospital) -> None:
    """Only the dispositions tell of deaths, and those of a few deadly stays are in a word of the site."""
    for patient in hospital.resources["Patient"]:
        if patient.pop("deceasedDateTime", None):
            patient["deceasedBoolean"] = True
    deadly = [s for s in stays(hospital) if "exp" in json.dumps(s["hospitalization"])]
    for stay in deadly[: len(stays(hospital)) // 25]:
        _disposition(stay)


UNDECLARED["deaths told in words that are not known, below 1 in 50"] = (
    _deaths_told_in_words_that_are_not_known,
    "W9",
)


def _readmissions_in_a_class_that_is_not_known(hospital: Hospital) -> None:
    """A stay of unknown class within 30 days after another may be a readmission."""
    chosen = []
    for one in stays(hospital):
        start = datetime.fromisoformat(one["period"]["start"])
        ends = [
            datetime.fromisoformat(s["period"]["end"])
            for s in stays(hospital)
            if patient_of(s) == patient_of(one) and s is not one
        ]
        if any(timedelta(0) < start - end <= timedelta(days=30) for end in ends):
            chosen.append(one)
    for one in chosen[: len(hospital.resources["Encounter"]) // 25]:
        _class(one)


UNDECLARED["readmissions in a class that is not known, below 1 in 50"] = (
    _readmissions_in_a_class_that_is_not_known,
    "Q7",
)


# --- what touches some subjects only ---------------------------------------------------------------------


@touches
def retracted_diagnoses(hospital: Hospital) -> set[str]:
    chosen = every(hospital.resources["Condition"], 60)
    for condition in chosen:
        wrong = {"coding": [{"code": "entered-in-error"}]}
        newer = json.loads(json.dumps(condition)) | {"meta": {"versionId": "2"}, "verificationStatus": wrong}
        hospital.resources["Condition"].append(newer)
    return {patient_of(c) for c in chosen}


@touches
def diagnoses_with_a_clinical_status_of_error(hospital: Hospital) -> set[str]:
    chosen = every(hospital.resources["Condition"], 60)
    for condition in chosen:
        condition["clinicalStatus"] = {"coding": [{"code": "entered-in-error"}]}
    return {patient_of(c) for c in chosen}


def _unreadable(side: str) -> Callable[[Hospital], set[str]]:
    def change(hospital: Hospital) -> set[str]:
        hospital.store = ["error_budget=1"]
        chosen = every(stays(hospital), 15)
        for number, stay in enumerate(chosen):
            for name in side.split("_and_"):
                stay["period"][name] = ("2020-13-01T08:00:00Z", "soon", "29.02.2021")[number % 3]
        return {patient_of(s) for s in chosen}

    change.__name__ = f"stays_whose_{side}_cannot_be_read"
    return change


LOSES = [touches(_unreadable(side)).__name__ for side in ("start", "end", "start_and_end")]


@touches
def diagnoses_recorded_after_the_export_or_at_no_time(hospital: Hospital) -> set[str]:
    hospital.store = ["error_budget=1"]
    chosen = every(hospital.resources["Condition"], 20)
    for number, condition in enumerate(chosen):
        condition.pop("onsetDateTime", None)
        condition["recordedDate"] = ("2199-01-01T00:00:00Z", "soon", "9999-12-31")[number % 3]
        if number % 2:
            condition.pop("encounter")
    return {patient_of(c) for c in chosen}


@touches
def stays_that_begin_at_the_beginning_of_1970(hospital: Hospital) -> set[str]:
    chosen = every(stays(hospital), 15)
    for number, stay in enumerate(chosen):
        stay["period"]["start"] = ("1970-01-01", "1970-01-01T00:00:00Z")[number % 2]
    return {patient_of(s) for s in chosen}


LOSES.append("stays_that_begin_at_the_beginning_of_1970")
LOSES.append("diagnoses_recorded_after_the_export_or_at_no_time")


@touches
def ends_of_stays_that_never_come(hospital: Hospital) -> set[str]:
    chosen = every(stays(hospital), 15)
    for number, stay in enumerate(chosen):
        sentinels = ("9999-12-31", "9999-12-31T23:59:59-08:00", "2099-01-01", "0001-01-01T00:00:00+14:00")
        stay["period"]["end"] = sentinels[number % 4]
    return {patient_of(s) for s in chosen}


@touches
def results_of_impossible_times(hospital: Hospital) -> set[str]:
    chosen = every(hospital.resources["Observation"], 40)
    for number, one in enumerate(chosen):
        sentinels = ("9999-12-31T23:59:59-08:00", "1900-01-01", "0001-01-01T00:00:00+14:00", "2150-01-01")
        one["effectiveDateTime"] = one["issued"] = sentinels[number % 4]
    return set()  # laboratory results decide no label


@touches
def patients_of_another_hospital(hospital: Hospital) -> set[str]:
    others = every(hospital.resources["Patient"], 8)
    names = {p["id"] for p in others}
    for kind in list(hospital.resources):
        for one in [r for r in hospital.resources[kind] if patient_of(r) in names]:
            text = json.dumps(one).replace(patient_of(one), f"north-{patient_of(one)}")
            hospital.resources[kind].append(json.loads(text))
    return {f"north-{name}" for name in names}


@touches
def diagnoses_that_name_the_encounter_of_another_patient(hospital: Hospital) -> set[str]:
    chosen = every(hospital.resources["Condition"], 25)
    encounters = [e["id"] for e in hospital.resources["Encounter"]]
    for number, condition in enumerate(chosen):
        other = next(e for e in encounters[number:] if not e.startswith(patient_of(condition)))
        condition["encounter"]["reference"] = f"Encounter/{other}"
    return {patient_of(c) for c in chosen}


@touches
def deleted_stays(hospital: Hospital) -> set[str]:
    chosen = every(stays(hospital), 12)
    for stay in chosen:
        stay["meta"] = {"tag": [{"code": "DELETED"}]}
    return {patient_of(s) for s in chosen}


@touches
def an_impossible_birth_date(hospital: Hospital) -> set[str]:
    for patient in every(hospital.resources["Patient"], 20):
        patient["birthDate"] = "9999-12-31"
    return set()


@touches
def living_patients_whose_stay_ended_in_death(hospital: Hospital) -> set[str]:
    chosen = [p for p in hospital.resources["Patient"] if "deceasedDateTime" in p]
    for patient in chosen:
        del patient["deceasedDateTime"]
        patient["deceasedBoolean"] = False
    return {p["id"] for p in chosen}
