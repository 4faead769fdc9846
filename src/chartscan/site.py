"""The site file (YAML): one hospital's own words, and how stays are formed.

    vocabulary:
      class: {"4": stay, "http://here.example/class|7": emergency}
      disposition: {"17": dead, "nach Hause": alive}
      systems: {"http://here.example/diagnoses": ICD10GM}
      diagnoses: {"SNOMED|10725009": hypertension, "SNOMED|195662009": none}
      sex: {"1": male, "2": female}
      units: {"mg%": mg/dL}
    stays:
      merge_gap_hours: 6

Every key and word is taken as the text that stands in the file: 07, 4, yes and NO are words, never numbers or
truth values. This module knows no source and no task; it checks what a word may mean.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from chartscan.errors import ConfigError, nearest
from chartscan.vocabulary import diagnoses, dispositions
from chartscan.vocabulary.administrative import (
    CLASS_OF_KIND,
    EMERGENCY_CLASSES,
    ENCOUNTER_STATUSES,
    OTHER_CLASSES,
    SEXES,
    STAY_CLASSES,
)
from chartscan.vocabulary.diagnoses import GROUPS, NONE, declared_codes
from chartscan.vocabulary.systems import system_name

LARGEST = 4 << 20  # bytes
_NO_SYSTEM_NAME = ("//", " ", "\t", "\n")


class Vocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """What words of the source mean: word, or "SYSTEM|word", to a meaning."""

    class_: dict[str, str] = {}  # stay, emergency, other, or a code of v3-ActCode
    encounter_status: dict[str, str] = {}  # one of ENCOUNTER_STATUSES
    disposition: dict[str, str] = {}  # dead, alive, unknown, or a name of `dispositions`
    systems: dict[str, str] = {}  # address of a code system -> its name, or the address of the standard one
    diagnoses: dict[str, str] = {}  # "SYSTEM|code" -> a name of diagnoses.GROUPS, or none
    diagnosis_status: dict[str, str] = {}  # confirmed, unconfirmed, wrong, unknown
    sex: dict[str, str] = {}  # male, female, other, unknown
    units: dict[str, str] = {}  # unit -> the unit it is another spelling of


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One hospital. `stays` holds fields of cohort.stays.StayConfig, as text; `label` converts them."""

    vocabulary: Vocabulary = Vocabulary()
    stays: dict[str, Any] = {}


def read_site(path: Path) -> Site:
    """Return the site file at `path`; ConfigError says what is wrong and what is expected."""
    return parse_site(_content(path), str(path))


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ConfigError(f"--site {path}: no such file. Write one with: chartscan ingest ... --suggest-site")
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ConfigError(f"--site {path}: larger than {LARGEST >> 20} MiB. Is it the right file?")
    return content


def parse_site(content: bytes, name: str = "site file") -> Site:
    """The site file whose text is `content`."""
    try:
        data = yaml.load(content, _AllText)
    except yaml.MarkedYAMLError as err:
        line = f", line {err.problem_mark.line + 1}" if err.problem_mark else ""
        raise ConfigError(f"{name}{line}: not YAML ({err.problem or err.context}).") from None
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError):
        raise ConfigError(f"{name}: not YAML in UTF-8.") from None
    try:
        data = _section({} if data in (None, "") else data, Site, name, "the file")
        vocabulary = _section(data.get("vocabulary") or {}, Vocabulary, name, "vocabulary")
        words = {part: _words(vocabulary[part] or {}, part, name) for part in vocabulary}
        _check_diagnoses(words.get("diagnoses", {}), words.get("systems", {}), name)
        stays = data.get("stays") or {}
        if not isinstance(stays, dict):
            raise ConfigError(f"{name}: stays: expected settings such as 'merge_gap_hours: 6'.")
        return Site(msgspec.convert(words, Vocabulary), stays)
    except RecursionError:
        raise ConfigError(f"{name}: an alias contains itself.") from None


class _AllText(yaml.BaseLoader):
    """Every scalar is text as it is written; a key that comes twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be one word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, "the same key stands here twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=True)


def _section(data: Any, kind: type[msgspec.Struct], name: str, where: str) -> dict[str, Any]:
    """A mapping whose keys are fields of `kind`; ConfigError with the nearest right name."""
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: {where}: expected sections: {', '.join(known)}.")
    for key in data:
        if key not in known:
            raise ConfigError(f"{name}: no section '{key}' in {where}.{nearest(key, known)}")
    return data


def _words(data: Any, part: str, name: str) -> dict[str, str]:
    """The words of one part with what each means, checked."""
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: vocabulary.{part}: expected words and their meanings, one a line.")
    where = f"{name}: vocabulary.{part}"
    blank = [_shown(word, number) for number, (word, meaning) in enumerate(data.items(), 1) if not meaning]
    if blank:
        raise ConfigError(
            f"{where}: {len(blank)} words have no meaning yet, such as {blank[0]}. Write one of: "
            f"{', '.join(MEANINGS[part])}; or delete the line."
        )
    if not all(isinstance(meaning, str) and word.strip() for word, meaning in data.items()):
        raise ConfigError(f"{where}: expected one word and one meaning a line.")
    return {
        word: _CHECKS[part](meaning, f"{where}, {_shown(word, number)}")
        for number, (word, meaning) in enumerate(data.items(), 1)
    }


def _check_diagnoses(meanings: Mapping[str, str], systems: Mapping[str, str], name: str) -> None:
    """Refuse words that are no code of a system, and two spellings of one code with two meanings."""
    where = f"{name}: vocabulary.diagnoses"
    found: dict[str, str] = {}
    for number, (word, meaning) in enumerate(meanings.items(), 1):
        system, _, code = word.rpartition("|")
        if not system.strip() or not code.strip():
            raise ConfigError(
                f"{where}, {_shown(word, number)}: expected a code and its system, such as 'SNOMED|10725009'."
            )
        ((key, _),) = declared_codes({word: meaning}, systems).items()
        if found.setdefault(key, meaning) != meaning:
            raise ConfigError(
                f"{where}, {_shown(word, number)}: the same code stands here with another meaning."
            )


def _shown(word: str, number: int) -> str:
    """A declared word as errors name it: a code, or the number of an entry that is free text."""
    return f"'{word}'" if " " not in word.strip() and len(word) < 200 else f"entry {number}"


def _one_of(meanings: Iterable[str], names: frozenset[str]) -> Callable[[str, str], str]:
    """A check for one of `meanings`, or of the standard `names` in any letter case."""

    meanings = tuple(meanings)

    def check(meaning: str, where: str) -> str:
        plain = meaning.strip()
        if plain.lower() in meanings:
            return plain.lower()
        if plain.upper() in names:
            return plain.upper()
        raise ConfigError(f"{where}: '{meaning}' is no meaning.{nearest(plain, [*meanings, *sorted(names)])}")

    return check


def _system(meaning: str, where: str) -> str:
    """The name of a code system: the well-known one where the meaning is an address or a spelling of it."""
    name = system_name(meaning) or meaning.strip()
    if any(part in name for part in _NO_SYSTEM_NAME):
        raise ConfigError(f"{where}: '{meaning}' is no name of a code system. Expected one such as ICD10GM.")
    return name


def _unit(meaning: str, where: str) -> str:
    return meaning.strip()


_CHECKS: dict[str, Callable[[str, str], str]] = {
    "class": _one_of(CLASS_OF_KIND, STAY_CLASSES | EMERGENCY_CLASSES | OTHER_CLASSES),
    "encounter_status": _one_of(ENCOUNTER_STATUSES, frozenset()),
    "disposition": _one_of(dispositions.OF_MEANING, dispositions.ALIVE | {dispositions.EXPIRED}),
    "systems": _system,
    "diagnoses": _one_of([*GROUPS, NONE], frozenset()),
    "diagnosis_status": _one_of(diagnoses.STATUS_MEANINGS, frozenset()),
    "sex": _one_of(SEXES, frozenset()),
    "units": _unit,
}
MEANINGS = {
    "class": tuple(CLASS_OF_KIND),
    "encounter_status": ENCOUNTER_STATUSES,
    "disposition": tuple(dispositions.OF_MEANING),
    "systems": ("ICD10GM", "ICD10", "ICD10CM", "ICD9CM", "SNOMED", "or a name of its own"),
    "diagnoses": (*GROUPS, NONE),
    "diagnosis_status": diagnoses.STATUS_MEANINGS,
    "sex": tuple(SEXES),
    "units": ("the unit it is a spelling of",),
}
