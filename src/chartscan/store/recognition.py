"""How the words of the source were read: counts by thing, word and meaning, for the manifest and the report.

A thing is what tasks depend on: class, encounter_status, disposition, diagnosis_system, diagnosis,
diagnosis_status, sex, units. Words that are codes are named. Free text may name a person: in the manifest it
is named only where at least NAMED_FROM records share it. `words` gives all of them, for the private file of
`--suggest-site`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

How = Literal["recognised", "mapped", "unknown", "not said"]
NAMED_FROM = 10  # records that share a text before the manifest names it
A_TEXT, OTHER_WORDS = "a text", "other words"
_LIMIT = 100_000  # distinct words kept of all things; the rest is counted as OTHER_WORDS
_IN_MANIFEST = 500  # words of a thing
_ON_TERMINAL = 5  # unknown words of a thing
_TITLES = {
    "class": "encounter class",
    "encounter_status": "encounter status",
    "diagnosis_system": "diagnosis system",
    "diagnosis": "diagnosis code",
    "diagnosis_status": "diagnosis status",
}
_NOT_DECLARED = ("parameter",)  # things whose words no site file can declare
_LONGEST_CODE, _LONGEST = 40, 200
_KEYS = {"recognised": "recognised", "mapped": "mapped", "unknown": "unknown", "not said": "not_said"}
_RANK = {"unknown": 0, "mapped": 1, "recognised": 2, "not said": 3}


class Word(NamedTuple):
    """One word of the source and how it was read."""

    thing: str
    word: str
    system: str
    how: How
    meaning: str | None
    text: bool  # free text, not a code


class Recognition:
    """Counts of words. `recognise` is one dictionary access."""

    def __init__(self) -> None:
        self._counts: Counter[Word] = Counter()

    def recognise(
        self,
        thing: str,
        word: str,
        meaning: str | None,
        how: How,
        n: int = 1,
        *,
        system: str = "",
        text: bool = False,
    ) -> None:
        """Count `n` records in which `word` (of the code system `system`) was read as `meaning`."""
        text = text or len(word) > _LONGEST_CODE or word.count(" ") > 4
        key = Word(thing, word[:_LONGEST], system[:_LONGEST], how, meaning, text)
        if key not in self._counts and len(self._counts) >= _LIMIT:
            key = Word(thing, OTHER_WORDS, "", how, None, False)
        self._counts[key] += n

    def merge(self, other: "Recognition") -> None:
        """Add the counts of another worker."""
        self._counts.update(other._counts)

    def words(self) -> Iterator[tuple[Word, int]]:
        """Every word with its records: unknown ones first, then by number and word."""
        yield from sorted(self._counts.items(), key=_order)

    def as_dict(self) -> dict[str, Any]:
        """By thing: records by how they were read and by meaning, and the words that may be named."""
        found: dict[str, dict[str, Any]] = {}
        for word, n in self.words():
            thing = found.setdefault(
                word.thing, dict.fromkeys(_KEYS.values(), 0) | {"meanings": {}, "words": Counter()}
            )
            thing[_KEYS[word.how]] += n
            if word.meaning is not None:
                thing["meanings"][word.meaning] = thing["meanings"].get(word.meaning, 0) + n
            thing["words"][_shown(word, n)] += n
        for thing in found.values():
            thing["words"] = _table(thing["words"])
        return dict(sorted(found.items()))


def _order(counted: tuple[Word, int]) -> tuple[str, int, int, str, str, str]:
    word, n = counted
    return word.thing, _RANK[word.how], -n, word.word, word.system, word.meaning or ""


def _shown(word: Word, n: int) -> Word:
    """The word as the manifest names it."""
    return word._replace(word=A_TEXT, system="") if word.text and n < NAMED_FROM else word


def _table(words: Counter[Word]) -> list[dict[str, Any]]:
    """The words as rows; the rest is added up by how it was read."""
    rows = list(words.items())
    shown, rest = rows[:_IN_MANIFEST], rows[_IN_MANIFEST:]
    others: Counter[Word] = Counter()
    for word, n in rest:
        others[Word(word.thing, OTHER_WORDS, "", word.how, None, False)] += n
    return [
        {"word": w.word, "system": w.system, "how": w.how, "meaning": w.meaning, "records": n}
        for w, n in [*shown, *others.items()]
    ]


def title_of(thing: str) -> str:
    """What a thing of the account is called in reports."""
    return _TITLES.get(thing, thing)


def recognition_lines(recognition: Mapping[str, Any]) -> list[str]:
    """For each thing how many records were understood, and the words that were not."""
    if not recognition:
        return []
    heads = "".join(f"{head.replace('_', ' '):>14}" for head in _KEYS.values())
    lines = [f"{'words of':<28}{heads}"]
    for thing, found in recognition.items():
        lines.append(f"{title_of(thing):<28}" + "".join(f"{found[head]:>14,}" for head in _KEYS.values()))
        lines += [f"    unknown: {words}" for words in [unknown_words(found)] if words]
    if any(found["unknown"] for thing, found in recognition.items() if thing not in _NOT_DECLARED):
        lines.append(
            "Unknown words give no labels. List them: --suggest-site FILE; declare them: --site FILE"
        )
    return lines


def unknown_words(found: Mapping[str, Any], shown: int = _ON_TERMINAL) -> str:
    """The unknown words of a thing with their records, most frequent first; empty if there are none."""
    words = sorted((w for w in found["words"] if w["how"] == "unknown"), key=lambda w: -w["records"])
    parts = [_named(w) for w in words[:shown]]
    rest = sum(w["records"] for w in words[shown:])
    return ", ".join(parts + ([f"{len(words) - shown} more ({rest:,})"] if rest else []))


def _named(word: Mapping[str, Any]) -> str:
    system = f" of {word['system']}" if word["system"] else ""
    return f"'{word['word']}'{system} ({word['records']:,})"
