"""Variables computed from measured ones, causally, as more triplets: pressures by any method, ratios, rates.

A table of rules, keyed by the names of variables; another source adds its own names to a rule, or a rule.
`derived_rows` follows the rules in whole records, `LiveDerived` instant by instant in a live one.
"""

import operator
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import numpy as np
import polars as pl

MICROSECONDS_PER_HOUR = 3_600_000_000
Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Rule(NamedTuple):
    """A derived variable, with a value at each measurement of variables `of`.

    It is that measurement, or the sum over the last `hours` with that instant, combined with the last value
    of any of the variables `by` in this stay, that instant included (of several of an instant the
    highest); where there is none yet with `otherwise`, and without `otherwise` there is no value.
    """

    name: str
    of: tuple[str, ...]
    by: tuple[str, ...] = ()
    combine: Combine | None = None
    otherwise: float | None = None
    hours: float | None = None


URINE_HOURS = 6.0
_ROOM_AIR = 0.21  # share of oxygen
_ADULT_KG = 80.0


def _per_fraction(pressure: np.ndarray, oxygen: np.ndarray) -> np.ndarray:
    """A pressure by the share of oxygen breathed in; above 1 it was written in percent."""
    return pressure / np.where(oxygen > 1, oxygen / 100, oxygen)


def _per_kg_and_hour(ml: np.ndarray, kg: np.ndarray) -> np.ndarray:
    return ml / URINE_HOURS / kg


def _physionet2012(*parameters: str) -> tuple[str, ...]:
    return tuple(f"PHYSIONET2012//{parameter}" for parameter in parameters)


_SYSTOLIC = _physionet2012("SysABP", "NISysABP")
_DIASTOLIC = _physionet2012("DiasABP", "NIDiasABP")
RULES = (
    Rule("DERIVED//SysBP", _SYSTOLIC),
    Rule("DERIVED//DiasBP", _DIASTOLIC),
    Rule("DERIVED//MeanBP", _physionet2012("MAP", "NIMAP")),
    Rule("DERIVED//PulsePressure", _SYSTOLIC, _DIASTOLIC, operator.sub),
    Rule("DERIVED//ShockIndex", _physionet2012("HR"), _SYSTOLIC, operator.truediv),
    Rule("DERIVED//PaO2/FiO2", _physionet2012("PaO2"), _physionet2012("FiO2"), _per_fraction, _ROOM_AIR),
    Rule("DERIVED//BUN/Creatinine", _physionet2012("BUN"), _physionet2012("Creatinine"), operator.truediv),
    Rule(
        "DERIVED//Urine/kg/h",
        _physionet2012("Urine"),
        _physionet2012("Weight"),
        _per_kg_and_hour,
        _ADULT_KG,
        URINE_HOURS,
    ),
)


def rules_for(names: Collection[str]) -> tuple[Rule, ...]:
    """The rules that can be followed where the variables `names` are measured."""
    return tuple(
        rule for rule in RULES if all(not part or set(part) & set(names) for part in (rule.of, rule.by))
    )


_STAY = ["subject_id", "begun"]
_INSTANT = [*_STAY, "known"]


def derived_rows(measured: pl.DataFrame, starts: pl.DataFrame, rules: Iterable[Rule]) -> pl.DataFrame:
    """Derived values: `subject_id`, `known`, `name`, `value` (float64), in no order that has a meaning.

    `measured` has these columns, with values in range only; `starts` are the admissions (`subject_id`,
    `known`), at each of which everything begins anew.
    """
    begun = starts.select("subject_id", "known", begun="known").unique().sort("known")
    rows = measured.select("subject_id", "known", "name", pl.col("value").cast(pl.Float64)).sort("known")
    rows = rows.join_asof(begun, on="known", by="subject_id", check_sortedness=False)
    rows = rows.with_columns(pl.col("begun").fill_null(np.iinfo(np.int64).min))
    found = [_rows_of(rule, rows) for rule in rules]
    return pl.concat([rows.select("subject_id", "known", "name", "value").clear(), *found])


def _rows_of(rule: Rule, rows: pl.DataFrame) -> pl.DataFrame:
    of, by = (rows.filter(pl.col("name").is_in(part)) for part in (rule.of, rule.by))
    if rule.hours is not None:
        of = _summed(of, rule.hours)
    known = by.group_by(_INSTANT).agg(by=pl.col("value").max()).sort("known")
    of = of.join_asof(known, on="known", by=_STAY, check_sortedness=False)
    values = _combined(rule, of["value"].to_numpy(), of["by"].to_numpy())
    of = of.select("subject_id", "known", name=pl.lit(rule.name), value=pl.Series(values, dtype=pl.Float64))
    return of.filter(pl.col("value").is_finite())


def _summed(rows: pl.DataFrame, hours: float) -> pl.DataFrame:
    """Each row with the sum over its stay of what lies in the last `hours`; both frames sorted by time."""
    running = (
        rows.group_by(_INSTANT)
        .agg(pl.col("value").sum())
        .sort("known")
        .select(*_INSTANT, running=pl.col("value").cum_sum().over(_STAY))
    )
    before = running.select(*_STAY, before=pl.col("running"), last=pl.col("known"))
    rows = rows.join_asof(running, on="known", by=_STAY, check_sortedness=False)
    rows = rows.with_columns(opened=pl.col("known") - round(hours * MICROSECONDS_PER_HOUR))
    rows = rows.join_asof(before, left_on="opened", right_on="last", by=_STAY, check_sortedness=False)
    return rows.with_columns(value=pl.col("running") - pl.col("before").fill_null(0.0))


def _combined(rule: Rule, of: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The rule's values (n,), NaN or infinite where it has none; `by` is NaN where never seen."""
    if rule.combine is None:
        return of
    if rule.otherwise is not None:
        by = np.where(np.isnan(by), rule.otherwise, by)
    with np.errstate(divide="ignore", invalid="ignore"):
        return rule.combine(of, by)


class LiveDerived:
    """The derived values of one live stay, instant by instant."""

    def __init__(self, rules: Iterable[Rule]):
        self._rules = tuple(rules)
        self._last: dict[str, tuple[int, float]] = {}  # of each variable: when, and the highest then
        self._recent: dict[str, list[tuple[int, float]]] = {
            rule.name: [] for rule in self._rules if rule.hours
        }

    def at(self, known: int, measured: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
        """Name and value of everything derived at the instant `known` (microseconds), later than any before.

        `measured` are the names and values of all that was measured at it.
        """
        rows = sorted(measured)  # of a name the highest comes last
        self._last |= {name: (known, value) for name, value in rows}
        return [row for rule in self._rules for row in self._derived(rule, known, rows)]

    def _derived(self, rule: Rule, known: int, rows: list[tuple[str, float]]) -> list[tuple[str, float]]:
        of = np.array([value for name, value in rows if name in rule.of])
        if not len(of):
            return []
        if rule.hours is not None:
            of = np.full(len(of), self._sum(rule, rule.hours, known, float(of.sum())))
        seen = [self._last[name] for name in rule.by if name in self._last]
        by = max(seen)[1] if seen else np.nan
        values = _combined(rule, of, np.full(len(of), by))
        return [(rule.name, value) for value in values.tolist() if np.isfinite(value)]

    def _sum(self, rule: Rule, hours: float, known: int, value: float) -> float:
        opened = known - round(hours * MICROSECONDS_PER_HOUR)
        recent = [row for row in self._recent[rule.name] if row[0] > opened]
        self._recent[rule.name] = [*recent, (known, value)]
        return sum(value for _, value in self._recent[rule.name])
