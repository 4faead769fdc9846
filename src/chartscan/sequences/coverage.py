"""How much of a record the vocabulary knows: the rate of [UNK] per code system, and the gate on it."""

from collections.abc import Iterable

import msgspec
import polars as pl
import pyarrow as pa

from chartscan.errors import DataError
from chartscan.sequences.encoder import Encoder
from chartscan.sequences.specials import UNK

WARN_ABOVE, REFUSE_ABOVE = 0.05, 0.20


class Coverage(msgspec.Struct, frozen=True):
    """Events that became tokens, and how many of them are [UNK]."""

    events: int
    unknown: int

    @property
    def unknown_rate(self) -> float:
        return self.unknown / self.events if self.events else 0.0


def coverage(encoder: Encoder, tables: Iterable[pa.Table]) -> dict[str, Coverage]:
    """Coverage by code system (what comes before the first `//` of a code), sorted by name."""
    parts = [_by_system(encoder, table) for table in tables]
    if not parts:
        return {}
    total = pl.concat(parts).group_by("system").agg(pl.all().sum()).sort("system")
    return {system: Coverage(events, unknown) for system, events, unknown in total.iter_rows()}


def check_coverage(found: dict[str, Coverage], name: str, place: str = "in the vocabulary") -> str | None:
    """A warning when more than 5 % of all events of `name` are not in their `place`, none when fewer.

    Raises DataError above 20 %: the vocabulary was learned from another kind of record, and predictions
    would rest on what the model does not know.
    """
    total = Coverage(sum(c.events for c in found.values()), sum(c.unknown for c in found.values()))
    if total.unknown_rate <= WARN_ABOVE:
        return None
    worst = ", ".join(
        f"{system} {c.unknown_rate:.0%}"
        for system, c in sorted(found.items(), key=lambda item: -item[1].unknown)[:3]
    )
    message = (
        f"{name}: {total.unknown_rate:.1%} of {total.events} events are not {place} ({worst}). "
        "Check that codes are written as in the training data, or train on data like these."
    )
    if total.unknown_rate > REFUSE_ABOVE:
        raise DataError(f"{message} At most {REFUSE_ABOVE:.0%} can be accepted.")
    return message


def _by_system(encoder: Encoder, table: pa.Table) -> pl.DataFrame:
    system = pl.col("code").str.splitn("//", 2).struct.field("field_0").alias("system")
    unknown = (pl.col("id") == UNK).cast(pl.Int64)
    return (
        encoder.token_ids(table).group_by(system).agg(pl.len().cast(pl.Int64).alias("events"), unknown.sum())
    )
