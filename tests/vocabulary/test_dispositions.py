"""What discharge dispositions of every system and language say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.vocabulary import dispositions
from chartscan.vocabulary.dispositions import meaning_of, name_of_code, name_of_text

NUBC = ("https://www.nubc.org/CodeSystem/PatDischargeStatus", "http://www.nubc.org/patient-discharge")
NUBC += ("urn:oid:2.16.840.1.113883.6.301.5", "2.16.840.1.113883.6.301.5")
V2 = ("http://terminology.hl7.org/CodeSystem/v2-0112", "http://hl7.org/fhir/v2/0112")
V2 += ("urn:oid:2.16.840.1.113883.12.112",)
HL7 = (
    "http://terminology.hl7.org/CodeSystem/discharge-disposition",
    "http://hl7.org/fhir/discharge-disposition",
)
GERMAN = ("http://fhir.de/CodeSystem/dkgev/EntlassungsgrundErsteUndZweiteStelle",)
GERMAN += ("https://www.medizininformatik-initiative.de/fhir/core/modul-fall/CodeSystem/Entlassungsgrund",)


def meaning(code: str, system: str) -> str | None:
    name = name_of_code(code, system)
    return None if name is None else meaning_of(name)


@pytest.mark.parametrize("system", NUBC)
def test_the_ub04_codes_of_death_mean_death_and_those_of_discharge_do_not(system):
    assert {code for code in map("{:02}".format, range(100)) if meaning(code, system) == "dead"} == {
        "20",
        "41",
    }
    for code in ("01", "1", "02", "03", "06", "07", "21", "50", "51", "62", "63", "65", "70", "81", "95"):
        assert meaning(code, system) == "alive"
    for code in ("30", "00", "40", "42"):
        assert meaning(code, system) == "unknown"
    assert meaning("77", system) is None


@pytest.mark.parametrize("system", V2)
def test_table_0112_of_hl7_v2_agrees_where_it_is_not_left_to_the_states(system):
    assert [meaning(code, system) for code in ("20", "41")] == ["dead"] * 2
    assert [meaning(code, system) for code in ("40", "42")] == ["unknown"] * 2
    assert [meaning(code, system) for code in ("01", "07", "09")] == ["alive"] * 3
    assert [meaning(code, system) for code in ("10", "21", "35")] == [None] * 3


@pytest.mark.parametrize("system", HL7)
def test_every_code_of_hl7_has_its_meaning(system):
    assert meaning("exp", system) == meaning("EXP", system) == "dead"
    for code in ("home", "alt-home", "other-hcf", "hosp", "long", "aadvice", "psy", "rehab", "snf"):
        assert meaning(code, system) == "alive"
    assert meaning("oth", system) == "unknown"


@pytest.mark.parametrize("system", GERMAN)
def test_the_german_reason_for_discharge_is_read_with_two_and_three_digits(system):
    assert [meaning(code, system) for code in ("07", "079", "7")] == ["dead"] * 3
    assert [meaning(code, system) for code in ("01", "011", "019", "06", "10", "29")] == ["alive"] * 6
    assert [meaning(code, system) for code in ("12", "17", "22", "25")] == ["unknown"] * 4


def test_concepts_of_snomed_are_read_in_every_edition():
    for system in (
        "http://snomed.info/sct",
        "http://snomed.info/sct/900000000000207008",
        "2.16.840.1.113883.6.96",
    ):
        assert meaning("371828006", system) == meaning("419099009", system) == "dead"
        assert meaning("371827001", system) == meaning("306689006", system) == "alive"
        assert meaning("22298006", system) is None


@pytest.mark.parametrize("number", ["20", "01", "7", "07", "41", "e", "2 0", "020"])
@pytest.mark.parametrize("system", ["", "http://here.example/disposition", "http://loinc.org"])
def test_a_bare_number_means_nothing_outside_of_its_system(number, system):
    assert name_of_code(number, system) is None
    assert name_of_text(number) is None


DEAD = (
    "Expired, EXP, died, Dead, DECEASED, Patient died, Patient deceased, died in hospital, "
    "Death in hospital, "
    "Expired in a medical facility, Discharged deceased, "
    "Dead (finding), Patient deceased during stay (discharge status = dead), "
    "Died within 24 hours of admission, "
    "expired with autopsy, Expired (no autopsy), Died in ED, verstorben, Tod, Exitus letalis, Décès, décédé, "
    "Décédée, Fallecido, fallecida, Defunción, muerte, Overleden, deceduto, Óbito, Avliden"
)
ALIVE = (
    "Home, Discharged to home, home or self care, Home-health care, Skilled Nursing Facility, SNF, Hospice, "
    "Left against medical advice, AMA, Rehab, transferred to another hospital, "
    "Transfer to psychiatric hospital, "
    "Discharge to home (procedure), Discharge to nursing home, discharged alive, survived, "
    "nach Hause, Domicile, "
    "Casa, naar huis, HOME HEALTH CARE, CHRONIC/LONG TERM ACUTE CARE, PSYCH FACILITY, ASSISTED LIVING"
)
NEITHER = (
    "Insurance expired, Authorization expired, mother died, fear of death, not dead, "
    "brain dead donor, near death, "
    "death certificate requested, discharged, discharge, transfer, Station 7, to, left, the, died down, "
    "died after discharge, died within 24 hours of discharge, discharged or died, "
    "death unknown, post mortem, "
    "Brother deceased, not expired, deathly ill, dead end, patient"
)


@pytest.mark.parametrize("text", DEAD.split(", "))
def test_common_words_for_death_are_understood(text):
    assert meaning_of(name_of_text(text)) == "dead"
    assert name_of_text(text.upper()) == name_of_text(f"  {text.lower()} ") == dispositions.EXPIRED


@pytest.mark.parametrize("text", ["Expired at home", "EXPIRED - PLACE UNKNOWN", "died at home", "dead, home"])
def test_a_death_at_home_or_at_an_unknown_place_is_understood_and_is_none_in_hospital(text):
    assert name_of_text(text) == dispositions.ELSEWHERE
    assert meaning_of(dispositions.ELSEWHERE) == "unknown"


@pytest.mark.parametrize("text", ALIVE.split(", "))
def test_common_words_for_a_discharge_are_understood(text):
    assert meaning_of(name_of_text(text)) == "alive"
    assert name_of_text(text.upper()) == name_of_text(text.lower())


@pytest.mark.parametrize("text", NEITHER.split(", "))
def test_texts_that_only_contain_such_a_word_are_not_guessed(text):
    assert name_of_text(text) is None


@given(st.text(max_size=40))
def test_what_is_understood_is_always_a_name_with_a_meaning(text):
    name = name_of_text(text)
    others = {dispositions.EXPIRED, dispositions.ELSEWHERE, dispositions.UNKNOWN}
    assert name is None or name in dispositions.ALIVE | others
