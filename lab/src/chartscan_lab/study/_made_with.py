"""Which code made what a study shows, and the words where it was not one code.

Cells are found again by settings, data and seed alone, so a study that goes on after a change of the code
shows rows of both. That is marked, not refused: most changes touch no number, and only a reader can say.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

import chartscan_lab
from chartscan.runs.record import source_hash, versions

LAB = Path(chartscan_lab.__file__).parent


class Code(msgspec.Struct, frozen=True):
    """The code of one piece of work; empty where it was not recorded."""

    chartscan: str = ""
    commit: str = ""  # with + where the checkout was changed; empty for an installed package
    source: str = ""  # a hash of all source files
    lab: str = ""  # the same of the lab; empty in a run record, since training is chartscan's alone

    @property
    def shipped(self) -> str:
        """Equal for equal code of chartscan, by any name of the commit."""
        return self.source or f"{self.chartscan} {self.commit}"

    @property
    def identity(self) -> str:
        """Equal for equal code of chartscan and of the lab."""
        return f"{self.shipped} {self.lab}"

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
    return code_of(versions() | {"lab": source_hash(LAB)})


def distinct(codes: Iterable[Code]) -> list[Code]:
    """Each code once, in the order of appearance."""
    return list({one.identity: one for one in reversed(_with_labs([*codes]))}.values())[::-1]


def _with_labs(codes: list[Code]) -> list[Code]:
    """Codes without a lab are of the lab that the same chartscan was used with, where that is one."""
    labs: dict[str, set[str]] = {}
    for code in codes:
        labs.setdefault(code.shipped, set()).update({code.lab} - {""})
    return [
        msgspec.structs.replace(code, lab=next(iter(labs[code.shipped])))
        if not code.lab and len(labs[code.shipped]) == 1
        else code
        for code in codes
    ]


def not_one_code(made: Iterable[tuple[str, Sequence[Code]]]) -> str | None:
    """Which rows which code made; None where it was one code, or none is known. `made`: rows with codes."""
    named = [(name, one) for name, used in made for one in used]
    codes = _with_labs([one for _, one in named])
    rows: dict[str, list[str]] = {}
    for (name, _), one in zip(named, codes, strict=True):
        rows.setdefault(one.identity, []).append(name)
    if len(rows) < 2:
        return None
    several = len({one.lab for one in codes}) > 1
    parts = [
        f"{one}{f', lab {one.lab}' if several and one.lab else ''}: {_quoted(rows[one.identity])}"
        for one in distinct(codes)
    ]
    return (
        f"Not all of this was made with one code, so differences may be the code's. {'; '.join(parts)}. To "
        "make all of it anew: another --out."
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in dict.fromkeys(names))
