"""The starter of a site file: every word of the records that was not understood, with its records."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from chartscan.files import write_bytes
from chartscan.site import MEANINGS, Site
from chartscan.store.accounting import OTHER_WORDS, Recognition, Word, title_of

SECTIONS = {  # thing of the account -> section of the site file's vocabulary
    "class": "class",
    "encounter_status": "encounter_status",
    "disposition": "disposition",
    "diagnosis_system": "systems",
    "diagnosis": "diagnoses",
    "diagnosis_status": "diagnosis_status",
    "sex": "sex",
    "units": "units",
}
NOT_WORDS = {"no class", "no code", "no code system", "not said", OTHER_WORDS}  # nothing a site could declare


def write_suggestions(path: Path, recognition: Recognition, site: Site) -> int:
    """Write a starter of a site file: what `site` declares, and every unknown word with no meaning yet.

    Free text is in it too, so that only its owner may read it. Gives the number of words to fill in.
    """
    words = [(word, n) for word, n in recognition.words() if word.how == "unknown" and word.thing in SECTIONS]
    content, number = suggestions(words, site)
    write_bytes(path, content.encode(), private=True)
    return number


_PREFACE = """\
# Words of the records that chartscan did not understand, with the number of records of each.
# Write a meaning after each colon or delete the line, then: chartscan ingest ... --site THIS_FILE
# Words are listed as they stand in the records: keep this file as private as the records.
"""


def suggestions(words: Iterable[tuple[Word, int]], site: Site) -> tuple[str, int]:
    """The text of the starter, and how many words of it have no meaning yet. Units are optional: comments."""
    declared = {
        "class": site.vocabulary.class_,
        **{part: getattr(site.vocabulary, part) for part in SECTIONS.values() if part != "class"},
    }
    blank: dict[str, dict[str, str]] = {part: {} for part in declared}
    notes = []
    for word, n in words:
        if word.word in NOT_WORDS:
            notes.append(f"# {title_of(word.thing)}: {n:,} records with {word.word}; no word to declare")
            continue
        key = f"{word.system}|{word.word}" if word.system else word.word
        blank[SECTIONS[word.thing]].setdefault(key, f"{n:,} records")
    sections = [_section(part, declared[part], blank[part]) for part in declared]
    body = "".join(filter(None, sections))
    stays = "".join(f"  {_quoted(k)}: {json.dumps(v, ensure_ascii=False)}\n" for k, v in site.stays.items())
    text = _PREFACE + "".join(f"{note}\n" for note in notes)
    text += f"vocabulary:\n{body}" if body else "# Every word was understood.\n"
    number = sum(len(keys) for part, keys in blank.items() if part != "units")
    return text + (f"stays:\n{stays}" if stays else ""), number


def _section(part: str, declared: Mapping[str, str], blank: Mapping[str, str]) -> str:
    if not declared and not blank:
        return ""
    lines = [f"  {part}:  # {', '.join(MEANINGS[part])}"]
    lines += [f"    {_quoted(word)}: {_quoted(meaning)}" for word, meaning in declared.items()]
    open_words = {word: n for word, n in blank.items() if word not in declared}
    mark = "# " if part == "units" else ""
    lines += [f"    {mark}{_quoted(word)}:  # fill in: {n}" for word, n in open_words.items()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Text as YAML in double quotes; what cannot be printed is escaped."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    if letter.isprintable():
        return letter
    number = ord(letter)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
