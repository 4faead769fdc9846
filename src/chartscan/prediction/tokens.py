"""Tokens of the subjects asked about, and how much of their records the vocabulary knows."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.inputs.batches import TokenStore
from chartscan.inputs.tokens import (
    Coverage,
    Encoded,
    Encoder,
    NumericBins,
    Vocabulary,
    check_coverage,
    coverage,
)


@dataclass(frozen=True)
class Tokens:
    """Tokens, and births where known, of whole subjects."""

    encoded: list[tuple[int, Encoded]] = field(default_factory=list)
    births: dict[int, np.datetime64] = field(default_factory=dict)
    coverage: dict[str, Coverage] = field(default_factory=dict)  # events by code system
    warning: str | None = None  # about unknown codes

    @cached_property
    def store(self) -> TokenStore:
        """The tokens as batches are made from them."""
        return TokenStore.build(self.encoded)


class TokenReader:
    """Encodes EVENTS table by table."""

    def __init__(self, vocabulary: Vocabulary, bins: NumericBins):
        self._encoder = Encoder(vocabulary, bins)
        self._found = Tokens()
        self._coverage: list[dict[str, Coverage]] = []

    def read(self, table: pa.Table) -> None:
        """Takes in whole subjects."""
        self._coverage.append(coverage(self._encoder, [table]))
        encoded, births = encode(self._encoder, [table])
        self._found.encoded.extend(encoded)
        self._found.births.update(births)

    def tokens(self) -> Tokens:
        """All that was read; DataError where more than a fifth of the events are unknown."""
        found = summed(self._coverage)
        warning = check_coverage(found, "records to predict on")
        return replace(self._found, coverage=found, warning=warning)


def encode(
    encoder: Encoder, tables: Iterable[pa.Table]
) -> tuple[list[tuple[int, Encoded]], dict[int, np.datetime64]]:
    """Tokens and birth (where known) of every subject."""
    encoded: list[tuple[int, Encoded]] = []
    births: dict[int, np.datetime64] = {}
    for table in tables:
        if table.num_rows:
            encoded += encoder.encode_shard(table)
        rows = table.filter(pc.equal(table["event_type"], "birth"))
        births |= dict(zip(rows["subject_id"].to_pylist(), rows["time"].to_numpy(), strict=True))
    return encoded, births


def summed(parts: Iterable[dict[str, Coverage]]) -> dict[str, Coverage]:
    """Coverage of several tables together, by code system, sorted by name."""
    total: dict[str, Coverage] = {}
    for part in parts:
        for system, found in part.items():
            before = total.get(system, Coverage(0, 0))
            total[system] = Coverage(before.events + found.events, before.unknown + found.unknown)
    return dict(sorted(total.items()))
