"""Quantile bins of numeric results per code and unit, fitted on train subjects.

Owns the edges and how a value meets them. The same rule, left-closed bins, is used in fitting and in use, so
every finite value of a known code and unit has a bin, its extremes and values never seen in training too.
"""

from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from chartscan import files
from chartscan.errors import DataError
from chartscan.inputs.tokens.config import MOST_BINS, SequenceConfig

NO_GROUP = -1


class UnitBins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bins of one code and unit ("": none), with edges[i-1] <= value < edges[i]."""

    unit: str
    edges: tuple[float, ...]
    subjects: int
    values: int


class NumericBins(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Bins of every numeric code; the main unit of a code (most subjects) comes first.

    A value with a comparator (`< 0.01`) is placed as its bound.
    """

    n_bins: int
    codes: dict[str, tuple[UnitBins, ...]]

    @cached_property
    def groups(self) -> list[tuple[str, int, UnitBins]]:
        """Return (code, index among its units, bins), one entry per code and unit."""
        return [(code, place, unit) for code, units in self.codes.items() for place, unit in enumerate(units)]

    @cached_property
    def group_ids(self) -> dict[tuple[str, str], int]:
        """Index in `groups` by code and unit."""
        return {(code, bins.unit): index for index, (code, _, bins) in enumerate(self.groups)}

    @cached_property
    def edges(self) -> np.ndarray:
        """Edges of all groups (groups, n_bins - 1), padded with +inf."""
        padded = np.full((len(self.groups), self.n_bins - 1), np.inf)
        for row, (_, _, bins) in zip(padded, self.groups, strict=True):
            row[: len(bins.edges)] = bins.edges
        return padded

    def suffix(self, group: int, bin_: int) -> str:
        """Return a bin token's suffix: "Q1" for the main unit, "[unit]//Q1" for others."""
        _, place, bins = self.groups[group]
        return f"Q{bin_ + 1}" if place == 0 else f"[{bins.unit}]//Q{bin_ + 1}"

    def assign(self, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return group and bin of each row of `frame`; NO_GROUP without one."""
        wanted = frame.select("code", pl.col("unit").fill_null(""))
        joined = wanted.join(self._group_table(), on=["code", "unit"], how="left", maintain_order="left")
        groups = joined["group"].fill_null(NO_GROUP).to_numpy().copy()
        values = frame["numeric_value"].fill_null(np.nan).to_numpy()
        groups[~np.isfinite(values)] = NO_GROUP
        placed = groups != NO_GROUP
        bins = np.zeros(len(groups), dtype=np.int8)
        bins[placed] = (values[placed, None].astype(np.float64) >= self.edges[groups[placed]]).sum(axis=1)
        return groups, bins

    def _group_table(self) -> pl.DataFrame:
        keys = {"code": pl.String, "unit": pl.String, "group": pl.Int32}
        return pl.DataFrame(
            [(*key, group) for key, group in self.group_ids.items()], schema=keys, orient="row"
        )

    def save(self, path: Path) -> None:
        """Write numeric.json."""
        files.write_bytes(path, msgspec.json.format(msgspec.json.encode(self, order="sorted")) + b"\n")

    @classmethod
    def load(cls, path: Path) -> "NumericBins":
        """Read numeric.json; DataError when it is not one."""
        found = files.read_json(path, cls, "numeric bins")
        units = [[bins.unit for bins in of_code] for of_code in found.codes.values()]
        sound = 1 <= found.n_bins <= MOST_BINS and all(found._sound(bins) for _, _, bins in found.groups)
        if not sound or any(len(names) != len(set(names)) for names in units):
            raise DataError(f"{path}: edges of bins are not ascending, or too many; the file was changed.")
        return found

    def _sound(self, bins: UnitBins) -> bool:
        ascending = all(low < high for low, high in pairwise(bins.edges))
        return ascending and len(bins.edges) < self.n_bins and min(bins.subjects, bins.values) >= 0


def fit_bins(tables: Iterable[pa.Table], config: SequenceConfig) -> NumericBins:
    """Fit bins on the EVENTS of train subjects, given shard by shard.

    A subject lies in one table. A code and unit needs `min_subjects` subjects with a finite value. Edges are
    the exact quantiles (numpy's linear rule) of at most `bin_sample` values a group; beyond that, of the
    values with the smallest hash of (subject, time, value), which is the same sample for every order of rows
    and shards.
    """
    sample = _Sample(config.bin_sample)
    counts = [_add_shard(sample, table) for table in tables]
    if not counts:
        return NumericBins(config.n_bins, {})
    totals = pl.concat(counts).group_by("code", "unit").agg(pl.col("subjects", "values").sum())
    totals = totals.filter(pl.col("subjects") >= config.min_subjects)
    ranked = totals.sort(["code", "subjects", "values", "unit"], descending=[False, True, True, False])
    values = sample.values_by_group()
    codes: dict[str, tuple[UnitBins, ...]] = {}
    for code, unit, subjects, n in ranked.iter_rows():
        edges = quantile_edges(values[sample.groups[code, unit]], config.n_bins)
        codes[code] = (*codes.get(code, ()), UnitBins(unit, edges, subjects, n))
    return NumericBins(config.n_bins, codes)


def quantile_edges(values: np.ndarray, n_bins: int) -> tuple[float, ...]:
    """Return inner quantiles of `values`, ascending, distinct; the first bin is not empty."""
    values = values.astype(np.float64)
    quantiles = np.quantile(values, np.arange(1, n_bins) / n_bins)
    return tuple(float(edge) for edge in np.unique(quantiles) if edge > values.min())


class _Sample:
    """Values per group, at most `cap` each: those with the smallest hash."""

    def __init__(self, cap: int):
        self.cap = cap
        self.groups: dict[tuple[str, str], int] = {}
        self._kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._rows, self._limit = 0, 2_000_000

    def add(self, groups: np.ndarray, hashes: np.ndarray, values: np.ndarray) -> None:
        self._kept.append((groups, hashes, values))
        self._rows += len(groups)
        if self._rows > self._limit:
            self._prune()
            self._limit = 2 * self._rows + 2_000_000

    def _prune(self) -> None:
        groups, hashes, values = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        order = np.lexsort((values, hashes, groups))
        sorted_groups = groups[order]
        place = np.arange(len(order)) - np.searchsorted(sorted_groups, sorted_groups)
        order = order[place < self.cap]
        self._kept = [(groups[order], hashes[order], values[order])]
        self._rows = len(order)

    def values_by_group(self) -> list[np.ndarray]:
        self._prune()
        groups, _, values = self._kept[0]
        return np.split(values, np.searchsorted(groups, np.arange(1, len(self.groups))))


def _add_shard(sample: _Sample, table: pa.Table) -> pl.DataFrame:
    """Add the numeric values of `table` to `sample`; subjects and values per code and unit."""
    columns = ["subject_id", "time", "code", "unit", "numeric_value"]
    frame = pl.from_arrow(table.select(columns).replace_schema_metadata())
    assert isinstance(frame, pl.DataFrame)
    frame = frame.filter(pl.col("numeric_value").is_finite()).with_columns(pl.col("unit").fill_null(""))
    keys = ["code", "unit"]
    counts = frame.group_by(keys).agg(subjects=pl.col("subject_id").n_unique(), values=pl.len())
    ids = [sample.groups.setdefault(key, len(sample.groups)) for key in counts.select(keys).iter_rows()]
    numbered = counts.select(*keys, group=pl.Series(ids, dtype=pl.Int32))
    joined = frame.join(numbered, on=keys, how="left")
    sample.add(joined["group"].to_numpy(), _hashes(joined), joined["numeric_value"].to_numpy())
    return counts


def _hashes(frame: pl.DataFrame) -> np.ndarray:
    """A hash of (subject, time, value) per row; splitmix64, so that no library version changes it."""
    bits = frame["numeric_value"].to_numpy().view(np.uint32).astype(np.uint64)
    time = frame["time"].dt.epoch("us").fill_null(0).to_numpy().view(np.uint64)
    return _mix(_mix(_mix(frame["subject_id"].to_numpy().view(np.uint64)) ^ time) ^ bits)


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
