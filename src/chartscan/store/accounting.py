"""What became of every line of the input: accepted, merged, filtered or quarantined, with reasons.

The identity `lines_in = accepted + merged_duplicates + filtered + quarantined` is checked for every file and
type before anything is published, so that no early return in a reader can lose a line in silence. This
module counts; what a reason means is decided by the source.
"""

from collections import defaultdict
from typing import Any

from chartscan.errors import BudgetError, DataError
from chartscan.store.recognition import How, Recognition

# The type of lines that could not be parsed far enough to tell it. Their budget is a share of their file's.
UNROUTED = "unrouted"
_MOST_LISTED = 10  # in one message

_LINES, _ACCEPTED, _MERGED, _FILTERED, _QUARANTINED = range(5)
_Key = tuple[str, str, int, str]  # file, type, outcome, reason


class Accounting:
    """Counters of one run, or of one worker of it (see `merge`). One call is well under a microsecond."""

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
        """Count lines that were used, whatever number of events they gave."""
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
        """Count how a word of the source was read; see `recognition`. `text`: free text, not a code."""
        self.recognition.recognise(thing, word, meaning, how, n, system=system, text=text)

    def file(self, name: str, how: str, reason: str, size: int) -> None:
        """Tell what became of a file: read, set aside or refused; why; and how many bytes it has."""
        self.files.append({"name": name, "how": how, "reason": reason, "bytes": size})

    def warn(self, text: str, flag: str | None = None) -> None:
        """Have `text` shown to the user, and count it as `flag`. A strict run with warnings publishes
        nothing."""
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
        """One row per file and type, sorted: file, type, lines_in, accepted, merged_duplicates and, by
        reason, filtered and quarantined."""
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
        """Raise BudgetError when more than the share `budget` of the lines of a type is in quarantine, or,
        where the type of a line could not be told, of the lines of its file.

        `place` is where the user will find them.
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
                f"{place}; mend the export, or raise error_budget."
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
