"""The names of code systems, above all of the ICD's many editions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.vocabulary.code_groups import HYPERTENSION
from chartscan.vocabulary.systems import KNOWN, icd_version, is_diagnosis_system, system_name

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
