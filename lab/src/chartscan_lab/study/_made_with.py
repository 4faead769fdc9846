"""Which code made what a study shows, and the words where it was not one code.

Cells are found again by settings, data and seed alone, so a study that goes on after a change of the code
shows rows of both. That is told, not refused: most changes touch no number, and only a reader can say.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from chartscan.runs.record import versions


class Code(msgspec.Struct, frozen=True):
    """The code of one piece of work; empty where it was not recorded."""

    chartscan: str = ""
    commit: str = ""  # with + where the checkout was changed; empty for an installed package
    source: str = ""  # a hash of all source files

    @property
    def identity(self) -> str:
        """Equal for equal code, whatever the commit is called."""
        return self.source or f"{self.chartscan} {self.commit}"

    def __str__(self) -> str:
        if self == Code():
            return "code that was not recorded"
        commit = f", commit {self.commit}" if self.commit else ""
        return f"chartscan {self.chartscan}{commit}, source {self.source or 'not recorded'}"


def code_of(versions: Mapping[str, str]) -> Code:
    """As a run record's `versions` say it."""
    return msgspec.convert(dict(versions), Code)


def current() -> Code:
    """What runs now."""
    return code_of(versions())


def distinct(codes: Iterable[Code]) -> list[Code]:
    """Each code once, in the order of appearance."""
    return list({one.identity: one for one in reversed([*codes])}.values())[::-1]


def not_one_code(made: Iterable[tuple[str, Sequence[Code]]]) -> str | None:
    """Which rows which code made; None where it was one code, or none is known. `made`: rows with codes."""
    rows: dict[str, list[str]] = {}
    codes: list[Code] = []
    for name, used in made:
        codes += used
        for one in used:
            rows.setdefault(one.identity, []).append(name)
    if len(rows) < 2:
        return None
    parts = [f"{one}: {_quoted(rows[one.identity])}" for one in distinct(codes)]
    return (
        f"Not all of this was made with one code, so differences may be the code's. {'; '.join(parts)}. To "
        "make all of it anew: another --out."
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in dict.fromkeys(names))
