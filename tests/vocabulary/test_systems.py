"""The names of code systems, above all of the ICD's many editions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.vocabulary.diagnoses import FLUID_DISORDER, HYPERTENSION, LIPID_DISORDER, is_understood
from chartscan.vocabulary.systems import KNOWN, code_of, icd_version, is_diagnosis_system, system_name

NAMES = {
    "ICD10GM": "http://fhir.de/CodeSystem/bfarm/icd-10-gm, http://fhir.de/CodeSystem/dimdi/icd-10-gm, "
    "ICD-10-GM, "
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm|2024, icd10gm2024, urn:oid:1.2.276.0.76.5.409",
    "ICD10": "http://hl7.org/fhir/sid/icd-10, http://hl7.org/fhir/ValueSet/icd-10, ICD-10, ICD10, I10, "
    "icd-10-who, "
    "urn:oid:2.16.840.1.113883.6.3, 2.16.840.1.113883.6.3.1, http://id.who.int/icd/release/10/2019",
    "ICD10CM": "http://hl7.org/fhir/sid/icd-10-cm, https://hl7.org/fhir/sid/icd-10-cm/, ICD10CM, "
    "ICD-10-CM, I10C, "
    "http://terminology.hl7.org/CodeSystem/icd10CM, urn:oid:2.16.840.1.113883.6.90, icd_10_cm, "
    "icd10cm-diagnosis, "
    "http://hl7.org/fhir/sid/icd-10-cm/2024",
    "ICD10CA": "http://hl7.org/fhir/sid/icd-10-ca, https://fhir.infoway-inforoute.ca/CodeSystem/icd-10-ca, "
    "urn:oid:2.16.840.1.113883.6.94",
    "ICD10AM": "http://hl7.org.au/fhir/CodeSystem/icd-10-am, urn:oid:2.16.840.1.113883.6.135, ICD-10-AM-11th",
    "ICD10NL": "urn:oid:2.16.840.1.113883.6.3.2, http://hl7.org/fhir/sid/icd-10-nl",
    "ICD10SE": "http://hl7.org/fhir/sid/icd-10-se, urn:oid:1.2.752.116.1.1.1.1.3",
    "ICD10FI": "urn:oid:1.2.246.537.6.1.1999",
    "ICD10NO": "urn:oid:2.16.578.1.12.4.1.1.7110",
    "ICD10FR": "https://smt.esante.gouv.fr/terminologie-cim-10, CIM-10",
    "ICD10ES": "CIE-10-ES, cie10",
    "ICD10BR": "http://www.saude.gov.br/fhir/r4/CodeSystem/BRCID10",
    "ICD10BMG": "https://termgit.elga.gv.at/CodeSystem/icd-10-bmg-2024",
    "ICD9CM": "http://hl7.org/fhir/sid/icd-9-cm, ICD-9-CM, I9C, CIE9MC, urn:oid:2.16.840.1.113883.6.103",
    "ICD9PROC": "http://hl7.org/fhir/sid/icd-9-cm-procedure, icd9proc, urn:oid:2.16.840.1.113883.6.104",
    "ICD10PCS": "http://hl7.org/fhir/sid/icd-10-pcs, ICD10PCS, http://here.example/procedure-icd10, I10P",
    "ICD11": "http://id.who.int/icd/release/11/mms, ICD-11",
    "LOINC": "http://loinc.org, LOINC, LN, http://here.example/loinc, 2.16.840.1.113883.6.1",
    "SNOMED": "http://snomed.info/sct, SNOMED-CT, SCT, http://snomed.info/sct/11000274103",
}
PAIRS = [(name, url) for name, urls in NAMES.items() for url in urls.split(", ")]
UNKNOWN = (
    "icd-o-3, http://local.example/diag, http://local.example/icd10-chapters, http://x/icd-10-to-snomed, "
)
UNKNOWN += "http://fhir.de/CodeSystem/bfarm/ops, http://fhir.de/CodeSystem/bfarm/alpha-id, "
UNKNOWN += "decide10, icpc-2, placid10"


@pytest.mark.parametrize(("name", "url"), PAIRS)
def test_a_system_has_one_name_by_every_address(name, url):
    assert system_name(url) == system_name(url.upper()) == system_name(f" {url} ") == name


@pytest.mark.parametrize("url", UNKNOWN.split(", "))
def test_a_system_that_is_no_edition_of_the_icd_is_not_taken_for_one(url):
    assert system_name(url) is None


@given(
    st.sampled_from(["http://{}.example/CodeSystem/", "urn:{}:", ""]),
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8),
    st.sampled_from(["icd-10-{}", "icd10{}", "ICD-10-{}", "ICD_10_{}", "icd-10-{}-2023", "icd10{}|2024"]),
    st.text("abcdefghijklmnoqrtuvwxyz", min_size=2, max_size=2).filter(
        lambda e: e not in ("cs", "vs", "dx", "mc", "wm")
    ),
)
def test_editions_never_seen_before_are_of_the_family(place, host, form, edition):
    name = system_name(place.format(host) + form.format(edition))
    assert name == f"ICD10{edition.upper()}"
    assert icd_version(name) == 10
    assert is_diagnosis_system(name)


def test_procedures_and_the_icd_11_are_no_diagnoses_that_tasks_can_find():
    for name in ("ICD10PCS", "ICD9PROC", "ICD11", "LOINC", "UNCONFIRMED", "ICD"):
        assert not is_diagnosis_system(name)
    for name in {name for name in KNOWN.values() if name.startswith(("ICD10", "ICD9"))} - {
        "ICD10PCS",
        "ICD9PROC",
    }:
        assert is_diagnosis_system(name)


@pytest.mark.parametrize("system", ["ICD10", "ICD10CM", "ICD10GM", "ICD10CA", "ICD10AM", "ICD10XY"])
def test_groups_of_diagnoses_match_every_edition_with_or_without_dots(system):
    for code in ("I10", "I10.90", "I1090", "i10.9", "I11.0"):
        assert HYPERTENSION.matches(f"{system}//{code}")
    assert not HYPERTENSION.matches(f"{system}//I20.9")
    assert not HYPERTENSION.matches(f"UNCONFIRMED//{system}//I10")


def test_groups_of_diagnoses_match_neither_procedures_nor_words_of_other_systems():
    assert not any(
        map(HYPERTENSION.matches, ("ICD10PCS//I10", "ICD9PROC//401", "local//I10", "ICD11//BA00", "I10"))
    )
    assert all(map(HYPERTENSION.matches, ("ICD9CM//401.9", "ICD9//4019", "SNOMED//38341003")))
    assert all(map(HYPERTENSION.matches, ("DIAGNOSIS//ICD//10//I10", "DIAGNOSIS//ICD//9//4019")))
    assert not HYPERTENSION.matches("DIAGNOSIS//ICD//9//I10")


NOT_ONE_CODE_OF_ICD10 = (
    "J06,I10|I10,J06|J06 I10|I10 J06|J06;I10|J06/I10|N18.9+I12.0*|H36.0*E10.3|I00-I99|I10-I15|I10-15"
    "|J06.I10|J06.9I10|J06I109|I1O|IO|I1|I|E7|E|1|40|401.9|4019|UNK|I.10|I1.0|I10.9.0|J06.9 (G)|I10?"
)
NOT_ONE_CODE_OF_ICD9 = (
    "40|4|40.1|4.01|401,402|401 402|401-405|4019276|V4|E84|E87|I10|I10.9|401.91.1|40x|.401|401.999|999.401"
)


@pytest.mark.parametrize("system", ["ICD10", "ICD10CM", "ICD10GM", "ICD10DK"])
@pytest.mark.parametrize("written", NOT_ONE_CODE_OF_ICD10.split("|"))
def test_what_is_not_one_whole_code_of_icd_10_may_be_any_condition(system, written):
    for code in (f"{system}//{code_of(system, written)}", f"{system}//{written}"):
        assert not is_understood(code)
        assert [group.says(code) for group in (HYPERTENSION, FLUID_DISORDER, LIPID_DISORDER)] == [None] * 3


@pytest.mark.parametrize("written", NOT_ONE_CODE_OF_ICD9.split("|"))
def test_what_is_not_one_whole_code_of_icd_9_may_be_any_condition(written):
    for code in (f"ICD9CM//{code_of('ICD9CM', written)}", f"ICD9CM//{written}"):
        assert not is_understood(code)
        assert [group.says(code) for group in (HYPERTENSION, FLUID_DISORDER, LIPID_DISORDER)] == [None] * 3
    assert not is_understood(f"DIAGNOSIS//ICD//9//{written}")


@pytest.mark.parametrize(
    ("system", "codes"),
    [
        ("ICD10", "I10|I10.9|I10.90|i10.9|J06|L10|U07.1|B95.6!|D50.9|D10"),
        (
            "ICD10CM",
            "S72.001A|T36.0X1A|T07.XXXA|C4A.9|C7B.8|Z3A.01|M05.A|O35.BXX0|C84.Z0|Z91.A10|I82.4Z1|S06.0XAA",
        ),
        (
            "ICD10GM",
            "I10.-|I10.0-|I10.90G|I10.00A|I10.00V|E14.30+|E14.30†|H36.0*|B95.6!|S72.00GL|H36.0*G|I10-",
        ),
        ("ICD10DK", "DI109|DI10|DI10.9|DD509|DO601B1A|DZ038E1"),
        ("ICD10FR", "K56.6+1|I10|B99.+0"),
        ("ICD9CM", "401|401.9|40190|4019|038.9|V58.61|V10|E849.7|E8497|E849|M8140/3"),
        ("DIAGNOSIS//ICD//9", "4019|V5861|E8497"),
        ("DIAGNOSIS//ICD//10", "I10|S72001A"),
    ],
)
def test_codes_are_read_as_every_edition_writes_them(system, codes):
    for written in codes.split("|"):
        for code in (f"{system}//{code_of(system, written)}", f"{system}//{written}"):
            assert is_understood(code), written
            assert HYPERTENSION.says(code) is written.upper().lstrip("D").startswith(("I10", "401"))
