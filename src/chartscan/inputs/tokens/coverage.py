"""Vocabulary coverage: the rate of [UNK] per code system, and its limit."""

from collections.abc import Iterable

import msgspec
import polars as pl
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.inputs.tokens.encoder import Encoder
from chartscan.inputs.tokens.specials import UNK

WARN_ABOVE, REFUSE_ABOVE = 0.05, 0.20
LEAST_EVENTS = 100  # of a code system that is judged by itself
WORST = 5  # code systems named in a message
NAMED_FROM = 10  # events of a code system that is named: a rarer one may be text that somebody typed
OTHER = "other"


class Coverage(msgspec.Struct, frozen=True):
    """Events that became tokens, and how many of them are [UNK]."""

    events: int
    unknown: int

    @property
    def unknown_rate(self) -> float:
        return self.unknown / self.events if self.events else 0.0


def coverage(encoder: Encoder, tables: Iterable[pa.Table]) -> dict[str, Coverage]:
    """Return coverage by code system (a code's part before `//`), sorted by name."""
    parts = [_by_system(encoder, table) for table in tables]
    if not parts:
        return {}
    total = pl.concat(parts).group_by("system").agg(pl.all().sum()).sort("system")
    return {system: Coverage(events, unknown) for system, events, unknown in total.iter_rows()}


def named(found: dict[str, Coverage]) -> dict[str, Coverage]:
    """Return coverage with systems of fewer than NAMED_FROM events as "other", last."""
    rare = [c for c in found.values() if c.events < NAMED_FROM]
    shown = {system: c for system, c in found.items() if c.events >= NAMED_FROM}
    return shown | ({OTHER: _total(rare)} if rare else {})


def check_coverage(found: dict[str, Coverage], name: str, place: str = "in the vocabulary") -> str | None:
    """Return a warning as `unknown_share`; DataError above 20 % unknown events.

    The vocabulary was then learned from another kind of record, and predictions would rest on what the model
    does not know.
    """
    message = unknown_share(found, name, place)
    if _total(found.values()).unknown_rate > REFUSE_ABOVE:
        raise DataError(f"{message} At most {REFUSE_ABOVE:.0%} can be accepted.")
    return message


def unknown_share(found: dict[str, Coverage], name: str, place: str = "in the vocabulary") -> str | None:
    """Return a warning where more than 5 % of `name`'s events are unknown.

    Unknown: not in their `place`. Also where a code system of at least LEAST_EVENTS events is unknown for
    more than 20 %.
    """
    found, total = named(found), _total(found.values())
    share = f"{name}: {total.unknown_rate:.1%} of {total.events:,} events are not {place}"
    if total.unknown_rate > WARN_ABOVE:
        worst = [system for system in found if found[system].unknown]
        return (
            f"{share} ({_rates(found, worst)}). Check that codes are written as in the training data, or "
            "train on data like these."
        )
    blind = [s for s, c in found.items() if c.events >= LEAST_EVENTS and c.unknown_rate > REFUSE_ABOVE]
    if not blind:
        return None
    return (
        f"{share}, but code systems differ ({_rates(found, blind)}). What such a system tells of a patient "
        "is not seen."
    )


def _total(parts: Iterable[Coverage]) -> Coverage:
    parts = list(parts)
    return Coverage(sum(c.events for c in parts), sum(c.unknown for c in parts))


def _rates(found: dict[str, Coverage], systems: list[str]) -> str:
    """The worst of `systems`."""
    worst = sorted(systems, key=lambda system: -found[system].unknown)[:WORST]
    return ", ".join(f"{s} {found[s].unknown_rate:.0%} of {found[s].events:,}" for s in worst)


def _by_system(encoder: Encoder, table: pa.Table) -> pl.DataFrame:
    system = pl.col("code").str.splitn("//", 2).struct.field("field_0").alias("system")
    unknown = (pl.col("id") == UNK).cast(pl.Int64)
    return (
        encoder.token_ids(table).group_by(system).agg(pl.len().cast(pl.Int64).alias("events"), unknown.sum())
    )


def summed(parts: Iterable[dict[str, Coverage]]) -> dict[str, Coverage]:
    """Coverage of several tables together, by code system, sorted by name."""
    total: dict[str, Coverage] = {}
    for part in parts:
        for system, found in part.items():
            before = total.get(system, Coverage(0, 0))
            total[system] = Coverage(before.events + found.events, before.unknown + found.unknown)
    return dict(sorted(total.items()))
