"""The fate of every input line, and how its words were read.

Every line is accepted, merged, filtered or quarantined, with a reason. The identity
`lines_in = accepted + merged_duplicates + filtered + quarantined` is checked for every file and type before
anything is published, so that no early return in a reader can lose a line in silence. This module counts;
what a reason or a word means is decided by the source.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from chartscan.errors import BudgetError, DataError

How = Literal["recognised", "mapped", "unknown", "not said"]
# The type of lines that could not be parsed far enough to tell it. Their budget is a share of their file's.
UNROUTED = "unrouted"
_MOST_LISTED = 10  # in one message
_LINES, _ACCEPTED, _MERGED, _FILTERED, _QUARANTINED = range(5)
_Key = tuple[str, str, int, str]  # file, type, outcome, reason


class Accounting:
    """Counters of one run or worker (see `merge`); a call takes under a microsecond."""

    def __init__(self) -> None:
        self._counts: defaultdict[_Key, int] = defaultdict(int)
        self._normalised: defaultdict[str, int] = defaultdict(int)
        self._flagged: defaultdict[str, int] = defaultdict(int)
        self.recognition = Recognition()
        self.files: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.events_out = 0  # rows of EVENTS; set by the writer, no part of the identity

    def line(self, file: str, kind: str, n: int = 1) -> None:
        """Count `n` lines read from `file` that hold a record of type `kind`."""
        self._counts[file, kind, _LINES, ""] += n

    def accept(self, file: str, kind: str, n: int = 1) -> None:
        """Count lines that were used, with any number of events."""
        self._counts[file, kind, _ACCEPTED, ""] += n

    def merge_duplicate(self, file: str, kind: str, n: int = 1) -> None:
        """Count lines that repeat a record already accepted."""
        self._counts[file, kind, _MERGED, ""] += n

    def filter(self, file: str, kind: str, reason: str, n: int = 1) -> None:
        """Count lines left out on purpose."""
        self._counts[file, kind, _FILTERED, reason] += n

    def quarantine(self, file: str, kind: str, reason: str, n: int = 1) -> None:
        """Count lines that could not be used; `reason` such as "B02 malformed_json"."""
        self._counts[file, kind, _QUARANTINED, reason] += n

    def normalised(self, name: str, n: int = 1) -> None:
        """Count records whose form was changed without loss."""
        self._normalised[name] += n

    def flagged(self, name: str, n: int = 1) -> None:
        """Count records kept although something about them is doubtful."""
        self._flagged[name] += n

    def file(self, name: str, how: str, reason: str, size: int) -> None:
        """Record a file as read, set aside or refused, with reason and bytes."""
        self.files.append({"name": name, "how": how, "reason": reason, "bytes": size})

    def warn(self, text: str, flag: str | None = None) -> None:
        """Show `text`, and count it as `flag`; strict runs with warnings publish nothing."""
        self.warnings.append(text)
        if flag:
            self.flagged(flag)

    def merge(self, other: "Accounting") -> None:
        """Add the counts of another worker."""
        for mine, theirs in (
            (self._counts, other._counts),
            (self._normalised, other._normalised),
            (self._flagged, other._flagged),
        ):
            for key, n in theirs.items():
                mine[key] += n  # type: ignore[index]
        self.recognition.merge(other.recognition)
        self.files += other.files
        self.warnings += other.warnings
        self.events_out += other.events_out

    @property
    def lines_in(self) -> int:
        """Lines of all files."""
        return self._total(_LINES)

    @property
    def accepted(self) -> int:
        """Lines that were used."""
        return self._total(_ACCEPTED)

    @property
    def quarantined(self) -> int:
        """Lines put into quarantine."""
        return self._total(_QUARANTINED)

    def _total(self, outcome: int) -> int:
        return sum(n for (_, _, found, _), n in self._counts.items() if found == outcome)

    def table(self) -> list[dict[str, Any]]:
        """Return one row per file and type, sorted.

        Columns: file, type, lines_in, accepted, merged_duplicates and, by reason, filtered and quarantined.
        """
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for (file, kind, outcome, reason), n in sorted(self._counts.items()):
            row = rows.setdefault((file, kind), _empty_row(file, kind))
            if outcome in (_FILTERED, _QUARANTINED):
                row[_NAMES[outcome]][reason] = n
            else:
                row[_NAMES[outcome]] = n
        return list(rows.values())

    def as_dict(self) -> dict[str, Any]:
        """All counters, ready for JSON."""
        return {
            "lines": self.table(),
            "files": self.files,
            "warnings": self.warnings,
            "events_out": self.events_out,
            "normalised": dict(sorted(self._normalised.items())),
            "flagged": dict(sorted(self._flagged.items())),
        }

    def check(self) -> None:
        """Raise DataError naming every file and type whose lines do not add up."""
        wrong = [
            f"{row['file']}, {row['type']}: {row['lines_in']} lines in, {_explained(row)} explained"
            for row in self.table()
            if row["lines_in"] != _explained(row)
        ]
        if wrong:
            raise DataError(
                "Lines were lost or counted twice while reading; nothing is published. " + _list(wrong)
            )

    def check_warnings(self) -> None:
        """Raise DataError when there are warnings; for strict runs."""
        if self.warnings:
            raise DataError(
                f"{len(self.warnings)} warnings in a strict run; nothing is published. "
                + " ".join(self.warnings[:_MOST_LISTED])
            )

    def check_budget(self, budget: float, place: str = "the quarantine folder") -> None:
        """Raise BudgetError where a type's quarantined share exceeds `budget`.

        The share is of its lines. Lines of unknown type count as a share of the lines of their file.

        `place` is where the user finds them.
        """
        lines: defaultdict[str, int] = defaultdict(int)
        bad: defaultdict[str, int] = defaultdict(int)
        in_file: defaultdict[str, int] = defaultdict(int)
        file_of: dict[str, str] = {}
        reasons: defaultdict[str, set[str]] = defaultdict(set)
        for (file, kind, outcome, reason), n in self._counts.items():
            group = f"{file}, {kind}" if kind == UNROUTED else kind
            if outcome == _LINES:
                lines[group] += n
                in_file[file] += n
            elif outcome == _QUARANTINED:
                bad[group] += n
                reasons[group].add(reason)
            if kind == UNROUTED:
                file_of[group] = file
        of = {group: in_file[file_of[group]] if group in file_of else lines[group] for group in bad}
        over = [
            f"{group}: {bad[group]} of {of[group]} ({', '.join(sorted(reasons[group])[:_MOST_LISTED])})"
            for group in sorted(bad)
            if bad[group] > budget * of[group]
        ]
        if over:
            more = f"; and {len(over) - _MOST_LISTED} more" if len(over) > _MOST_LISTED else ""
            raise BudgetError(
                f"More than {budget:.2%} of the lines of a type, or of unreadable lines in a file, had to be "
                f"put into quarantine; nothing is published. {'; '.join(over[:_MOST_LISTED])}{more}. See "
                f"{place}; correct the export, or raise error_budget."
            )


_NAMES = {
    _LINES: "lines_in",
    _ACCEPTED: "accepted",
    _MERGED: "merged_duplicates",
    _FILTERED: "filtered",
    _QUARANTINED: "quarantined",
}


def _empty_row(file: str, kind: str) -> dict[str, Any]:
    counts: dict[str, Any] = {"lines_in": 0, "accepted": 0, "merged_duplicates": 0}
    return {"file": file, "type": kind, **counts, "filtered": {}, "quarantined": {}}


def _explained(row: dict[str, Any]) -> int:
    apart = sum(row["filtered"].values()) + sum(row["quarantined"].values())
    return row["accepted"] + row["merged_duplicates"] + apart


def _list(items: list[str]) -> str:
    return "; ".join(items) + "."


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
    """Counts of words by kind, and their readings; `recognise` is one dictionary access.

    A thing is what tasks depend on: class, encounter_status, disposition, diagnosis_system, diagnosis,
    diagnosis_status, sex, units. Words that are codes are named. Free text may name a person: the manifest
    names it only where at least NAMED_FROM records share it. `words` gives all, for the private file of
    `--suggest-site`.
    """

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
        """Return every word and its records: unknown first, then by count and word."""
        yield from sorted(self._counts.items(), key=_order)

    def as_dict(self) -> dict[str, Any]:
        """Return, by kind, records per reading and meaning, and words to name."""
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


def title_of(thing: str) -> str:
    """Return the name of a thing as reports show it."""
    return _TITLES.get(thing, thing)


def recognition_lines(recognition: Mapping[str, Any]) -> list[str]:
    """Return lines for each thing: records by how they were read, and the unknown words."""
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
    """Return the unknown words of a thing with their counts, most frequent first, as text."""
    words = sorted((w for w in found["words"] if w["how"] == "unknown"), key=lambda w: -w["records"])
    parts = [_named(w) for w in words[:shown]]
    rest = sum(w["records"] for w in words[shown:])
    return ", ".join(parts + ([f"{len(words) - shown} more ({rest:,})"] if rest else []))


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


def _named(word: Mapping[str, Any]) -> str:
    system = f" of {word['system']}" if word["system"] else ""
    return f"'{word['word']}'{system} ({word['records']:,})"
