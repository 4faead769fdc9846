"""What encounter classes, priorities and the words for sex mean."""

import pytest

from chartscan.vocabulary.administrative import (
    CLASS_OF_KIND,
    class_of_code,
    class_of_text,
    kind_of_class,
    priority_code,
    sex_of,
)

ACT_CODE = ("http://terminology.hl7.org/CodeSystem/v3-ActCode", "urn:oid:2.16.840.1.113883.5.4")
ACT_CODE += ("2.16.840.1.113883.5.4", "")
KINDS = {
    "IMP": "stay",
    "ACUTE": "stay",
    "NONAC": "stay",
    "EMER": "emergency",
    "AMB": "other",
    "OBSENC": "other",
}
KINDS |= {"SS": "other", "HH": "other", "VR": "other", "PRENC": "other", "FLD": "other"}


@pytest.mark.parametrize("system", ACT_CODE)
@pytest.mark.parametrize("code", KINDS)
def test_every_class_of_hl7_has_its_kind_in_any_letter_case(code, system):
    for written in (code, code.lower(), code.title(), f" {code} "):
        assert kind_of_class(class_of_code(written, system)) == KINDS[code]


@pytest.mark.parametrize(
    "text", ["inpatient encounter", "Inpatient", "IN-PATIENT", "stationär", "Hospitalización"]
)
def test_words_for_a_hospital_stay_are_understood_in_any_system(text):
    assert (
        kind_of_class(class_of_text(text))
        == kind_of_class(class_of_code(text, "http://here.example/class"))
        == "stay"
    )


@pytest.mark.parametrize("code", ["4", "I", "E", "O", "1", "ss", "HH", "vr", "acute", "station"])
def test_short_codes_and_numbers_mean_nothing_in_a_system_that_is_not_known(code):
    assert class_of_code(code, "http://here.example/class") is None


def test_patient_classes_of_hl7_v2_are_read_in_their_own_system():
    system = "http://terminology.hl7.org/CodeSystem/v2-0004"
    kinds = {code: kind_of_class(class_of_code(code, system) or "?") for code in "IEOPRBCNU"}
    known = {"I": "stay", "E": "emergency", "O": "other", "P": "other", "R": "other"}
    assert kinds == known | dict.fromkeys("BCNU", "unknown")


def test_a_class_of_the_site_has_the_kind_that_the_site_gave_it():
    assert {meaning: kind_of_class(name) for meaning, name in CLASS_OF_KIND.items()} == {
        "stay": "stay",
        "emergency": "emergency",
        "other": "other",
    }


def test_sex_is_read_in_any_spelling_and_never_guessed():
    for word in ("male", "Male", "M", " male ", "männlich", "Masculino", "homme"):
        assert sex_of(word) == "M"
    for word in ("female", "F", "female ", "FEMALE", "weiblich", "W", "femme", "vrouw"):
        assert sex_of(word) == "F"
    assert [sex_of(word) for word in ("other", "divers", "unknown")] == ["OTHER", "OTHER", "UNKNOWN"]
    assert [sex_of(word) for word in ("1", "2", "0", "MF", "", "mal")] == [None] * 6


def test_priorities_are_codes_of_hl7_whatever_says_so():
    system = "http://terminology.hl7.org/CodeSystem/v3-ActPriority"
    assert [priority_code(code, system) for code in ("EL", "el", "CR", "ZZ")] == [
        "EL",
        "EL",
        "CR",
        "ZZ",
    ]
    assert [priority_code(word) for word in ("elective", "Notfall", "urgent", "7")] == [
        "EL",
        "EM",
        "UR",
        None,
    ]
