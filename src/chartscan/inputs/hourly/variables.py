"""Variables of time series: which events are theirs, plausible ranges, scales fitted on train."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from scipy.special import ndtri

from chartscan import files
from chartscan.errors import ConfigError, DataError
from chartscan.inputs.hourly.derived import Rule, derived_rows, rules_for

MOST_HOURS = 17_520  # two years: every hour of a stay has a row of its own
MOST_EVENTS = 1 << 22


class SeriesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of triplets and carried state."""

    window_hours: float = 48.0  # last hours of a stay that the carried state shows
    clip: tuple[float, float] = (0.001, 0.999)  # quantiles of train beyond which values are pulled in
    ranges: bool = True  # values outside the ranges of `reader.ranges` are absent
    scaling: Literal["zscore", "rank_gauss"] = "zscore"
    min_subjects: int = 10  # train subjects that a variable or a static fact needs
    max_events: int = 1500  # latest events of a stay that a model of triplets sees
    derived: bool = False  # variables of `derived.py` beside those measured

    def __post_init__(self) -> None:
        if self.window_hours < 1 or self.min_subjects < 1 or self.max_events < 1:
            raise ConfigError("reader.window_hours, min_subjects and max_events must be at least 1.")
        if self.window_hours > MOST_HOURS or self.max_events > MOST_EVENTS:
            raise ConfigError(
                f"reader.window_hours must be at most {MOST_HOURS:,}, max_events at most {MOST_EVENTS:,}."
            )
        if not 0 <= self.clip[0] < self.clip[1] <= 1:
            raise ConfigError("reader.clip: expected two quantiles, 0 <= low < high <= 1.")


# Values that a living patient can have, by code, both ends included; others are mistakes of the record.
# Fixed before any training. In PhysioNet 2012 negative numbers mean "missing", so no range goes below 0.

Range = tuple[float, float]

ABOVE_ZERO: Range = (1e-6, math.inf)  # a pressure of 0 is a line that was off
NOT_NEGATIVE: Range = (0.0, math.inf)

_PHYSIONET2012: dict[str, Range] = {
    "Age": NOT_NEGATIVE,
    "Height": (100.0, 230.0),  # cm
    "Weight": (20.0, 300.0),  # kg
    "pH": (6.5, 8.0),
    "WBC": (0.0, 500.0),  # 10^9/l
    "Urine": (0.0, 5000.0),  # ml; 0 is real
    "Temp": (25.0, 45.0),  # degrees Celsius
    "HR": (10.0, 300.0),  # per minute
    "RespRate": (1.0, 100.0),  # per minute
    "Mg": (0.1, 15.0),  # mmol/l
    **dict.fromkeys(("SysABP", "DiasABP", "MAP", "NISysABP", "NIDiasABP", "NIMAP"), ABOVE_ZERO),
    **dict.fromkeys(
        (
            *("Albumin", "ALP", "ALT", "AST", "Bilirubin", "BUN", "Cholesterol", "Creatinine", "FiO2"),
            *("GCS", "Glucose", "HCO3", "HCT", "K", "Lactate", "MechVent", "Na", "PaCO2", "PaO2"),
            *("Platelets", "SaO2", "TroponinI", "TroponinT"),
        ),
        NOT_NEGATIVE,
    ),
}

RANGES: dict[str, Range] = {f"PHYSIONET2012//{name}": limits for name, limits in _PHYSIONET2012.items()}


def range_of(code: str) -> Range:
    """The range of a code; everything where it has none."""
    return RANGES.get(code, (-math.inf, math.inf))


# Which EVENTS are measurements, static facts and starts of a stay: one rule for fitting, records and streams.

ADMISSION = "admission"
STATIC = "static"
# Rows that frame a record; a number on one of them is no measurement.
NOT_MEASURED = ("birth", "static", "admission", "visit_start", "visit_end", "discharge", "death", "outcome")
NO_START = ("birth", "static", "outcome")  # without an admission, a stay begins with any other timed event

_COLUMNS = ["subject_id", "time", "code", "numeric_value", "unit", "event_type", "available_time"]


def frame_of(table: pa.Table) -> pl.DataFrame:
    """EVENTS with `known`: microseconds since 1970 when a row became known, null for static facts."""
    frame = pl.from_arrow(table.select(_COLUMNS).replace_schema_metadata())
    assert isinstance(frame, pl.DataFrame)
    known = pl.coalesce("available_time", "time").cast(pl.Datetime("us")).dt.epoch("us")
    return frame.with_columns(known=pl.when(pl.col("time").is_not_null()).then(known))


def measurements(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows with a finite number at a known time, with the `name` of their variable."""
    unit = pl.col("unit").fill_null("")
    name = pl.when(unit == "").then("code").otherwise(pl.format("{} [{}]", "code", unit))
    measured = (
        pl.col("known").is_not_null()
        & pl.col("numeric_value").is_finite()
        & ~pl.col("event_type").is_in(NOT_MEASURED)
    )
    return frame.filter(measured).with_columns(name=name)


def variable_name(code: str, unit: str | None) -> str:
    """Return the name of a variable: its code and unit, as units never mix."""
    return f"{code} [{unit}]" if unit else code


def static_facts(frame: pl.DataFrame) -> pl.DataFrame:
    """Static rows in a fixed order: `subject_id`, `code`, `numeric_value` (null or not a number: none)."""
    facts = frame.filter((pl.col("event_type") == STATIC) & pl.col("time").is_null())
    return facts.select("subject_id", "code", "numeric_value").sort("subject_id", "code", "numeric_value")


def admissions(frame: pl.DataFrame) -> pl.DataFrame:
    """Starts of stays: `subject_id`, `known`, ascending."""
    starts = (pl.col("event_type") == ADMISSION) & pl.col("known").is_not_null()
    return frame.filter(starts).select("subject_id", "known").sort("subject_id", "known")


def first_events(frame: pl.DataFrame) -> pl.DataFrame:
    """When the first timed event of each subject became known, births and outcomes aside."""
    timed = pl.col("known").is_not_null() & ~pl.col("event_type").is_in(NO_START)
    return frame.filter(timed).group_by("subject_id").agg(pl.col("known").min()).sort("subject_id")


# The variables, fitted on train subjects and saved with the weights as variables.json.

QUANTILES = 65  # numbers kept of each variable's distribution, from its minimum to its maximum
MOST_VARIABLES = 32_767  # the number of a variable is an int16
_GREATEST = float(np.finfo(np.float32).max)
_GRID = np.linspace(0, 1, QUANTILES)
_TAIL = 0.001  # rank-Gauss: the extremes stand at the normal quantiles of this share


class Numbers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Train values of one variable; mean, SD and quantiles are after clipping."""

    name: str
    valid: tuple[float | None, float | None]  # range; None: open
    low: float  # clipping
    high: float
    mean: float
    std: float  # 1 where all values are equal
    quantiles: tuple[float, ...]  # (QUANTILES,)
    subjects: int
    values: int
    outside: int  # values left out because of the range


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A static fact without a number: GENDER with the levels F and M."""

    name: str
    levels: tuple[str, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """The code of each level."""
        return tuple(f"{self.name}//{level}" if self.name else level for level in self.levels)


class Variables(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """V variables numbered 1 .. V by name, and the static facts.

    A fact column is a numeric fact or a level of a group. The S static inputs of a model are these columns
    scaled, each numeric fact and group followed by a flag that is 1 where it is missing.
    """

    config: SeriesConfig
    variables: tuple[Numbers, ...]
    numeric_facts: tuple[Numbers, ...]
    groups: tuple[Group, ...]

    @classmethod
    def fit(cls, tables: Iterable[pa.Table], config: SeriesConfig) -> "Variables":
        """Fit the variables on EVENTS of train subjects, given shard by shard.

        A subject lies in one table. A variable is a code (and its unit) with numbers of `config.min_subjects`
        subjects, or derived from such. The result is the same for every order of rows and shards. DataError
        when there is none.
        """
        measured, facts, starts = [], [], []
        for table in tables:
            frame = frame_of(table)
            measured.append(
                measurements(frame).select("subject_id", "known", "name", "code", "numeric_value")
            )
            facts.append(static_facts(frame))
            starts.append(admissions(frame))
        variables = _fitted(pl.concat(measured), config) if measured else ()
        if not variables:
            raise DataError(
                f"No variable: expected numbers of at least {config.min_subjects} train subjects under a"
                " code. Ingest measurements, or lower reader.min_subjects."
            )
        if config.derived:
            variables = _with_derived(variables, pl.concat(measured), pl.concat(starts), config)
        static = pl.concat(facts)
        numeric = static.filter(pl.col("numeric_value").is_finite()).with_columns(name="code")
        return cls(config, variables, _fitted(numeric, config), _groups(static, config))

    @property
    def n_variables(self) -> int:
        """V."""
        return len(self.variables)

    @property
    def n_statics(self) -> int:
        """S."""
        return len(self.static_names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the variables 1 .. V."""
        return tuple(v.name for v in self.variables)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number of each variable, from 1, by name."""
        return {name: number for number, name in enumerate(self.names, start=1)}

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """How those variables that are derived are derived from the others."""
        return tuple(
            rule for rule in rules_for(self.names) if self.config.derived and rule.name in self.names
        )

    @cached_property
    def fact_names(self) -> tuple[str, ...]:
        """Names of the F fact columns."""
        return (
            *(fact.name for fact in self.numeric_facts),
            *(code for group in self.groups for code in group.codes),
        )

    @cached_property
    def static_names(self) -> tuple[str, ...]:
        """Names of the S static inputs."""
        names: list[str] = []
        for fact in self.numeric_facts:
            names += [fact.name, f"{fact.name}//missing"]
        for group in self.groups:
            names += [*group.codes, f"{group.name}//missing"]
        return tuple(names)

    @cached_property
    def quantiles(self) -> np.ndarray:
        """Quantiles of the clipped train values (V, Q) float64, in the unit of the source."""
        return np.array([v.quantiles for v in self.variables])

    @cached_property
    def _limits(self) -> np.ndarray:
        """Range and clipping (4, V + 1): from, to, low, high; column 0 is padding."""
        rows = [(*_closed(v.valid), v.low, v.high) for v in self.variables]
        return np.array([(0.0, 0.0, 0.0, 0.0), *rows]).T

    @cached_property
    def _moments(self) -> np.ndarray:
        """Mean and SD (2, V + 1)."""
        return np.array([(0.0, 1.0), *((v.mean, v.std) for v in self.variables)]).T

    def inside(self, variables: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Which values lie in the range of their variable (n,)."""
        return (values >= self._limits[0, variables]) & (values <= self._limits[1, variables])

    def clipped(self, variables: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values pulled in to the train quantiles `config.clip` (n,) float32."""
        return np.clip(values, self._limits[2, variables], self._limits[3, variables]).astype(np.float32)

    def scaled(self, variables: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return scaled values (n,) float32: z-scores, or normal quantiles of train ranks.

        `variables` are numbers 1 .. V, `values` are in the unit of the source; they are clipped here too.
        """
        clipped = self.clipped(variables, values)
        if self.config.scaling == "zscore":
            mean, std = self._moments[:, variables]
            return ((clipped - mean) / std).astype(np.float32)
        found = np.zeros(len(clipped), dtype=np.float32)
        for number in np.unique(variables).tolist():
            at = variables == number
            found[at] = _rank_gauss(clipped[at], self.quantiles[number - 1])
        return found

    def facts_of(self, codes: Sequence[str], values: Sequence[float | None]) -> np.ndarray:
        """One subject's static rows as fact columns (F,) float32, NaN where missing.

        Of several rows of a code the last counts. A number outside its range is missing, and so is a group
        whose level is none of train's.
        """
        given = dict(zip(codes, values, strict=True))
        numbers = [_fact(fact, given.get(fact.name)) for fact in self.numeric_facts]
        levels: list[float] = []
        for group in self.groups:
            held = [float(code in given) for code in group.codes]
            levels += held if any(held) else [math.nan] * len(held)
        return np.array([*numbers, *levels], dtype=np.float32)

    def inputs_of_statics(self, facts: np.ndarray) -> np.ndarray:
        """Return scaled static inputs (n, S) from fact columns (n, F); missing: 0, flag."""
        columns: list[np.ndarray] = []
        at = 0
        for fact in self.numeric_facts:
            column = facts[:, at]
            columns += [np.nan_to_num((column - fact.mean) / fact.std), np.isnan(column)]
            at += 1
        for group in self.groups:
            block = facts[:, at : at + len(group.levels)]
            columns += [*np.nan_to_num(block).T, np.isnan(block).any(axis=1)]
            at += len(group.levels)
        if not columns:
            return np.zeros((len(facts), 0), dtype=np.float32)
        return np.stack(columns, axis=1).astype(np.float32)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the variables as saved."""
        return hashlib.sha256(self._json()).hexdigest()

    def _json(self) -> bytes:
        # Read once, so that a setting given as 48 is written, and hashed, as the 48.0 it is read as.
        read = msgspec.json.decode(msgspec.json.encode(self), type=Variables)
        return msgspec.json.format(msgspec.json.encode(read)) + b"\n"

    def save(self, path: Path) -> None:
        """Write variables.json."""
        files.write_bytes(path, self._json())

    @classmethod
    def load(cls, path: Path) -> "Variables":
        """Read variables.json; DataError when it is not one or contradicts itself."""
        found = files.read_json(path, cls, "variables")
        facts = [fact.name for fact in found.numeric_facts]
        distinct = list(found.names) == sorted(set(found.names)) and len(facts) == len(set(facts))
        levels = [code for group in found.groups for code in group.codes]
        distinct &= len(levels) == len(set(levels)) and all(group.levels for group in found.groups)
        sound = all(_sound(numbers) for numbers in (*found.variables, *found.numeric_facts))
        if not distinct or not sound or not 1 <= found.n_variables <= MOST_VARIABLES:
            raise DataError(f"{path}: names and numbers do not agree; the file was changed.")
        return found


def _sound(numbers: Numbers) -> bool:
    """Whether the numbers can be those of values: ordered, within float32, with a deviation to divide by."""
    low, high = _closed(numbers.valid)
    ordered = low <= numbers.low <= numbers.high <= high
    ordered &= list(numbers.quantiles) == sorted(numbers.quantiles)
    limits = (numbers.low, numbers.high, numbers.mean, *numbers.quantiles)
    return (
        ordered
        and len(numbers.quantiles) == QUANTILES
        and max(map(abs, limits)) <= _GREATEST
        and 1 / _GREATEST <= numbers.std <= _GREATEST
        and min(numbers.subjects, numbers.values, numbers.outside) >= 0
    )


def _fitted(frame: pl.DataFrame, config: SeriesConfig) -> tuple[Numbers, ...]:
    """Numbers of each `name` with enough subjects, by name."""
    columns = ["subject_id", "numeric_value"]
    found = []
    for name, code, subjects, values in frame.group_by("name", "code").agg(columns).sort("name").iter_rows():
        numbers = _numbers(name, code, np.array(subjects), np.array(values, dtype=np.float64), config)
        if numbers is not None:
            found.append(numbers)
    return tuple(found)


def _with_derived(
    variables: tuple[Numbers, ...], measured: pl.DataFrame, starts: pl.DataFrame, config: SeriesConfig
) -> tuple[Numbers, ...]:
    """The variables and those derived from them, by name."""
    limits = pl.DataFrame(
        [(v.name, *_closed(v.valid)) for v in variables],
        schema={"name": pl.String, "from": pl.Float64, "to": pl.Float64},
        orient="row",
    )
    inside = measured.join(limits, on="name").filter(pl.col("numeric_value").is_between("from", "to"))
    rules = rules_for({v.name for v in variables})
    rows = derived_rows(inside.rename({"numeric_value": "value"}), starts, rules)
    derived = _fitted(rows.rename({"value": "numeric_value"}).with_columns(code="name"), config)
    return tuple(sorted((*variables, *derived), key=lambda v: v.name))


def _numbers(
    name: str, code: str, subjects: np.ndarray, values: np.ndarray, config: SeriesConfig
) -> Numbers | None:
    """Numbers of one variable; None where too few subjects have any."""
    valid = range_of(code) if config.ranges else (-math.inf, math.inf)
    inside = (values >= valid[0]) & (values <= valid[1])
    n_subjects = len(np.unique(subjects[inside]))
    if n_subjects < config.min_subjects:
        return None
    kept = np.sort(values[inside])  # sums depend on the order of rows otherwise
    low, high = np.quantile(kept, config.clip)
    clipped = np.clip(kept, low, high)
    return Numbers(
        name=name,
        valid=_open(valid),
        low=float(low),
        high=float(high),
        mean=float(clipped.mean()),
        std=float(clipped.std()) if high > low else 1.0,
        quantiles=tuple(np.quantile(clipped, _GRID).tolist()),
        subjects=n_subjects,
        values=len(kept),
        outside=int((~inside).sum()),
    )


def _groups(static: pl.DataFrame, config: SeriesConfig) -> tuple[Group, ...]:
    """Facts without numbers: levels with enough subjects, by the part of the code before its last //."""
    plain = static.filter(~pl.col("numeric_value").is_finite().fill_null(False))
    counted = plain.group_by("code").agg(pl.col("subject_id").n_unique())
    codes = counted.filter(pl.col("subject_id") >= config.min_subjects)["code"].sort().to_list()
    levels: dict[str, list[str]] = {}
    for code in codes:
        name, _, level = code.rpartition("//")
        levels.setdefault(name, []).append(level)
    return tuple(Group(name, tuple(found)) for name, found in sorted(levels.items()))


def _fact(fact: Numbers, value: float | None) -> float:
    low, high = _closed(fact.valid)
    if value is None or not low <= value <= high:
        return math.nan
    return min(max(value, fact.low), fact.high)


def _rank_gauss(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks; a value that fills several quantiles has their middle."""
    steps, place, counts = np.unique(quantiles, return_inverse=True, return_counts=True)
    ranks = np.bincount(place, weights=_GRID) / counts
    return ndtri(np.clip(np.interp(values, steps, ranks), _TAIL, 1 - _TAIL))


def _open(limits: Range) -> tuple[float | None, float | None]:
    """Limits for JSON, which has no infinity."""
    low, high = (limit if math.isfinite(limit) else None for limit in limits)
    return low, high


def _closed(limits: tuple[float | None, float | None]) -> Range:
    low, high = limits
    return -math.inf if low is None else low, math.inf if high is None else high
