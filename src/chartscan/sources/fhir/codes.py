"""Codings -> codes such as LOINC//2345-7: every code carries its system, and two systems never share a name.

Free text never becomes a code unless the site asks for it. This module knows terminologies, not resources.
"""

import json
import re
import shlex
from collections import Counter

import msgspec
from msgspec import Raw

from chartscan.errors import DataError
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.remember import remember
from chartscan.sources.fhir.resources import Coding, Concept

# Names of the well-known systems, by URL (lower case, without version and closing slash) and by OID.
KNOWN = {
    "http://loinc.org": "LOINC",
    "http://snomed.info/sct": "SNOMED",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RXNORM",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD10CM",
    "http://hl7.org/fhir/sid/icd-10": "ICD10",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD9CM",
    "http://terminology.hl7.org/codesystem/icd9": "ICD9CM",
    "http://hl7.org/fhir/sid/icd-9-cm/diagnosis": "ICD9CM",
    "http://hl7.org/fhir/sid/icd-9-cm/procedure": "ICD9PROC",
    "http://www.cms.gov/medicare/coding/icd9": "ICD9PROC",
    "http://www.cms.gov/medicare/coding/icd10": "ICD10PCS",
    "http://hl7.org/fhir/sid/icd-10-pcs": "ICD10PCS",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://www.ama-assn.org/go/cpt": "CPT",
    "http://www.cms.gov/medicare/coding/hcpcsreleasecodesets": "HCPCS",
    "http://terminology.hl7.org/codesystem/hcpcs": "HCPCS",
    "http://unitsofmeasure.org": "UCUM",
    "http://terminology.hl7.org/codesystem/v3-actcode": "v3-ActCode",
    "http://www.whocc.no/atc": "ATC",
    "http://fdasis.nlm.nih.gov": "UNII",
    "urn:oid:2.16.840.1.113883.6.1": "LOINC",
    "urn:oid:2.16.840.1.113883.6.96": "SNOMED",
    "urn:oid:2.16.840.1.113883.6.88": "RXNORM",
    "urn:oid:2.16.840.1.113883.6.90": "ICD10CM",
    "urn:oid:2.16.840.1.113883.6.3": "ICD10",
    "urn:oid:2.16.840.1.113883.6.103": "ICD9CM",
    "urn:oid:2.16.840.1.113883.6.104": "ICD9PROC",
    "urn:oid:2.16.840.1.113883.6.4": "ICD10PCS",
    "urn:oid:2.16.840.1.113883.12.292": "CVX",
    "urn:oid:2.16.840.1.113883.6.69": "NDC",
    "urn:oid:2.16.840.1.113883.6.12": "CPT",
    "urn:oid:2.16.840.1.113883.6.285": "HCPCS",
    "urn:oid:2.16.840.1.113883.6.8": "UCUM",
    "urn:oid:2.16.840.1.113883.5.4": "v3-ActCode",
    "urn:oid:2.16.840.1.113883.6.73": "ATC",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-diagnosis-icd9": "ICD9CM",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-diagnosis-icd10": "ICD10CM",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-procedure-icd9": "ICD9PROC",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-procedure-icd10": "ICD10PCS",
    "http://mimic.mit.edu/fhir/mimic/codesystem/mimic-medication-ndc": "NDC",
}
# What stands for "no answer" and is no code.
ABSENT = {
    "http://terminology.hl7.org/codesystem/v3-nullflavor",
    "http://terminology.hl7.org/codesystem/data-absent-reason",
    "http://hl7.org/fhir/data-absent-reason",
    "urn:oid:2.16.840.1.113883.5.1008",
}
UNKNOWN_SYSTEM, NO_CODE, TEXT = "UNKNOWN-SYSTEM", "NO-CODE", "TEXT"
# First parts of codes that we make ourselves; no code system may take them.
RESERVED = {
    UNKNOWN_SYSTEM,
    NO_CODE,
    TEXT,
    "MEDS_BIRTH",
    "MEDS_DEATH",
    "GENDER",
    "RACE",
    "ETHNICITY",
    "HOSPITAL_ADMISSION",
    "HOSPITAL_DISCHARGE",
    "ICU_ADMISSION",
    "ICU_DISCHARGE",
    "ED_REGISTRATION",
    "ED_OUT",
    "ENCOUNTER_START",
    "ENCOUNTER_END",
}
_WITHOUT_DOTS = {"ICD10CM", "ICD10PCS", "ICD10", "ICD9CM", "ICD9PROC"}
_SPACE = re.compile(r"\s+")
_Key = tuple[str | None, str | None, str | None]
_CONCEPT = msgspec.json.Decoder(Concept | None)


class CodeBook:
    """Names codes, remembers their descriptions, and counts in `flags` what was odd about them."""

    def __init__(self, config: Config):
        self.flags: Counter[str] = Counter()
        self.descriptions: dict[str, str] = {}
        self._shared: dict[str, set[str]] = {}  # name -> systems that would have it; "" is one of our own
        self._systems = config.systems
        self._keep_text = config.keep_text_codes
        self._names = KNOWN | {_plain_url(url): name for url, name in config.systems.items()}
        self._owners = dict.fromkeys({*self._names.values(), *RESERVED}, "")
        self._ranks = {name: rank for rank, name in enumerate(config.coding_priority)}
        self._codes: dict[_Key, str | None] = {}
        self._raws: dict[bytes, str] = {}

    def code(self, concept: Concept | None, kind: str) -> str:
        """The code of a concept, by the priority of systems; NO-CODE//kind, flagged, where it has none."""
        found = self.find(concept)
        if found is None:
            self.flags["no_code"] += 1
            return f"{NO_CODE}//{kind}"
        return found

    def raw(self, written: Raw, kind: str) -> str:
        """`code` of a concept that is not decoded: the same bytes need be understood only once."""
        text = bytes(written)
        return self._raws.get(text) or self._new_raw(text, kind)

    def _new_raw(self, text: bytes, kind: str) -> str:
        flagged = self.flags.total()
        code = self.code(_CONCEPT.decode(text) if text else None, kind)
        if self.flags.total() == flagged:  # what is flagged is counted every time, so not remembered
            remember(self._raws, text, code)
        return code

    def find(self, concept: Concept | None) -> str | None:
        """The code of a concept, or None where it has none that may be used."""
        if concept is None:
            return None
        if len(concept.coding) == 1:
            found = self.coding(concept.coding[0])
        else:
            found = min(filter(None, map(self.coding, concept.coding)), key=self._rank, default=None)
        if found is None and self._keep_text and concept.text and concept.text.strip():
            return f"{TEXT}//{_SPACE.sub(' ', concept.text.strip().lower())}"
        return found

    def coding(self, coding: Coding) -> str | None:
        """The code of one coding, or None where it names none."""
        key = coding.system, coding.code, coding.display
        try:
            return self._codes[key]
        except KeyError:
            return self._new(coding, key)

    def _new(self, coding: Coding, key: _Key) -> str | None:
        value = _SPACE.sub(" ", (coding.code or "").replace("\x00", "").strip())
        url = _plain_url(coding.system or "")
        if not value or url in ABSENT:
            return remember(self._codes, key, None)
        if not url:
            self.flags["code_without_system"] += 1  # counted every time, so not remembered
            return f"{UNKNOWN_SYSTEM}//{value}"
        name = self.system(coding.system or "")
        if name in _WITHOUT_DOTS:
            value = value.replace(".", "").upper()
        code = f"{name}//{value}"
        if coding.display:
            self.describe(code, coding.display)
        return remember(self._codes, key, code)

    def describe(self, code: str, display: str) -> None:
        """Tell what a code means; of several texts the first in the order of text is kept."""
        text = display.strip()
        self.descriptions[code] = min(self.descriptions.get(code, text), text)

    def system(self, url: str) -> str:
        """Name of a code system: the well-known one, or the last part of its URL.

        Systems that would share a name are noted, for `refuse_shared_names` once all are known.
        """
        key = _plain_url(url)
        if key in self._names:
            return self._names[key]
        name = _SPACE.sub("-", _last_part(url))
        owner = self._owners.setdefault(name, key)
        if owner != key:
            self._shared.setdefault(name, {owner}).add(key)
        self._names[key] = name
        return name

    def refuse_shared_names(self) -> None:
        """DataError where systems would share a name, with the setting that gives each its own.

        What a code means cannot depend on which system was met first.
        """
        if not self._shared:
            return
        told, settings = [], dict(self._systems)
        for name, urls in sorted(self._shared.items()):
            owned = [url or "a name that is taken" for url in sorted(urls)]
            told.append(f"'{name}' ({', '.join(owned)})")
            for url in sorted(urls)[1:]:  # the first keeps the name; "" comes first
                settings[url] = self._own_name(url, name)
        setting = shlex.quote("systems=" + json.dumps(settings, separators=(",", ":")))
        raise DataError(
            f"{len(told)} names of code systems would mean more than one: {'; '.join(told)}. "
            f"Name them apart, for example with --set {setting}"
        )

    def _own_name(self, url: str, name: str) -> str:
        """A name that no other system has: the host before it, and a number where that is not enough."""
        host = url.partition("//")[2].partition("/")[0]
        proposed = base = "-".join(filter(None, [_SPACE.sub("-", host), name]))
        number = 2
        while proposed in self._owners:
            proposed, number = f"{base}-{number}", number + 1
        self._owners[proposed] = url
        return proposed

    def _rank(self, code: str) -> tuple[int, int]:
        """Systems with a declared priority first, then any named one, then those without a system."""
        name = code.partition("//")[0]
        return self._ranks.get(name, len(self._ranks)), name == UNKNOWN_SYSTEM


def _plain_url(url: str) -> str:
    """A system in the one form that its variants share."""
    url = url.strip().partition("|")[0].rstrip("/").lower()
    return "http://" + url[8:] if url.startswith("https://") else url


def _last_part(url: str) -> str:
    """What follows the last slash of a URL or the last colon of a urn, in its own case."""
    url = url.strip().partition("|")[0].rstrip("/")
    return url.rsplit(":" if url.lower().startswith("urn:") else "/", 1)[-1]
