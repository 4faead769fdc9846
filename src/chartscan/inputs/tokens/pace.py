"""The pace of train records: types of codes, and time until each.

Tokens alone do not say when things happen. This is what a generated token is given instead: the type that its
code most often has, and a duration out of the train records' distribution of such steps. Learned from the
tokens of train subjects, it travels with the weights.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from chartscan import files
from chartscan.errors import DataError
from chartscan.inputs.tokens import specials as S
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.config import MOST_DAYS
from chartscan.inputs.tokens.encoded import Encoded
from chartscan.inputs.tokens.specials import interval_days

N_QUANTILES = 33  # odd, so that one of them is the median
ENDS = (T.TYPE_OF_EVENT["visit_end"], T.TYPE_OF_EVENT["discharge"])
STRUCTURAL = (T.PAD, T.CLS, T.VS, T.VE, T.REG, T.INTERVAL, T.TASK)
_FIXED = {S.CLS: T.CLS, S.VS: T.VS, S.VE: T.VE, S.REG: T.REG} | dict.fromkeys(
    range(S.FIRST_WEEK, S.LONG_TERM + 1), T.INTERVAL
)
_JUST_BELOW = 1e-6  # days


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days from an event of one type to the next event of the same visit.

    Events of one instant are in order of their codes: where token ids do not ascend, time has moved on.
    """

    before: int  # type
    after: int  # type
    ascends: bool  # whether the id of the second token is greater than that of the first
    days: tuple[float, ...]  # quantiles


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days from a visit's last event to the next visit, after one interval token.

    Separate for each kind of end: an encounter's end by its token, since what follows a death in hospital
    (the death itself, at that instant) does not follow a discharge home; other events by their type.
    """

    last: int  # type of the last event
    code: int  # its token where it ends an encounter; else PAD
    interval: int
    days: tuple[float, ...]  # quantiles


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Types by token, and times as quantiles (i + 1/2) / N_QUANTILES of train records."""

    types: tuple[int, ...]  # (V,) the most frequent type; PAD where train has no such event
    types_after: dict[int, tuple[int, ...]]  # of tokens of several types: by type of the token before, or PAD
    steps: tuple[Step, ...]
    intervals: dict[int, tuple[float, ...]]  # as `waits` after any visit, without what begins at its end
    waits: tuple[Wait, ...] | None = None  # None: of an earlier version, whose `intervals` are all there is

    def type_of(self, code: int, before: int) -> int:
        """The type of token `code` after a token of type `before`."""
        choice = self.types_after.get(code)
        return (choice[before] if choice else 0) or self.types[code]

    def step_days(self, before: int, after: int, ascends: bool, place: float) -> float:
        """Return days to the visit's next event, at quantile `place` in [0, 1).

        0.5 is the median.

        What train never did takes no time where ids ascend, and as long as any step that they do not.
        """
        days = self._steps.get((before, after, ascends))
        if days is None:
            days = (0.0,) if ascends else self._any_step
        return _at(days, place)

    def interval_days(self, token: int, last: int, code: int, place: float) -> float:
        """Return days from a visit's last event to the next visit.

        The last event has type `last` and token `code`. After an end that train hardly ever had before this
        interval, as long as after any visit. An interval that train never had is as long as its definition
        says, each length alike.
        """
        first, end = interval_days(token)
        days = self._waits.get((last, code if last in ENDS else S.PAD, token)) or self.intervals.get(token)
        return _at(days or first + (end - first) * _PLACES, place)

    @property
    def last_ends(self) -> tuple[int, ...]:
        """Return tokens that end an encounter with the next entry, as deaths in hospital."""
        return tuple(w.code for w in self.waits or () if w.code != S.PAD and _at(w.days, 0.5) == 0)

    @cached_property
    def _steps(self) -> dict[tuple[int, int, bool], tuple[float, ...]]:
        return {(s.before, s.after, s.ascends): s.days for s in self.steps}

    @cached_property
    def _waits(self) -> dict[tuple[int, int, int], tuple[float, ...]]:
        return {(w.last, w.code, w.interval): w.days for w in self.waits or ()}

    @cached_property
    def _any_step(self) -> tuple[float, ...]:
        """Medians of all steps at which time has moved on; an hour where there are none."""
        medians = sorted(_at(s.days, 0.5) for s in self.steps if not s.ascends)
        return tuple(medians) or (1 / 24,)

    def save(self, path: Path) -> None:
        """Write pace.json."""
        files.write_bytes(path, msgspec.json.encode(self) + b"\n")

    @classmethod
    def load(cls, path: Path, tokens: int) -> "Pace":
        """Read pace.json; DataError when it is not one for a vocabulary of `tokens`."""
        found = files.read_json(path, cls, "the pace of records")
        if len(found.types) != tokens:
            raise DataError(f"{path}: made for {len(found.types)} tokens, the vocabulary has {tokens}.")
        if not (found._types_sound() and found._times_sound()):
            raise DataError(f"{path}: a type, a token or a time is out of range; the file was changed.")
        return found

    def _types_sound(self) -> bool:
        """Whether types are types, and tokens those of the vocabulary."""
        tokens, waits = range(len(self.types)), self.waits or ()
        types = [*self.types, *(type_ for row in self.types_after.values() for type_ in row)]
        types += [type_ for step in self.steps for type_ in (step.before, step.after)]
        types += [wait.last for wait in waits]
        whole = all(len(row) == T.N_TYPES for row in self.types_after.values())
        intervals = [*self.intervals, *(wait.interval for wait in waits)]
        return (
            whole
            and all(type_ in range(T.N_TYPES) for type_ in types)
            and all(token in tokens for token in (*self.types_after, *(wait.code for wait in waits)))
            and all(token in range(S.FIRST_WEEK, S.LONG_TERM + 1) for token in intervals)
        )

    def _times_sound(self) -> bool:
        """Whether every distribution of days is one: ascending, not negative, within a record's length."""
        distributions = [*(step.days for step in self.steps), *self.intervals.values()]
        distributions += [wait.days for wait in self.waits or ()]
        return all(
            len(days) == N_QUANTILES and list(days) == sorted(days) and days[0] >= 0 and days[-1] <= MOST_DAYS
            for days in distributions
        )


def is_event(types: np.ndarray) -> np.ndarray:
    """Which tokens stand for events that have a time, by their types."""
    return ~np.isin(types, (*STRUCTURAL, T.STATIC))


class _Events(NamedTuple):
    """The events (tokens that have a time) of many subjects, one after the other; shape (E,)."""

    codes: np.ndarray
    types: np.ndarray
    days: np.ndarray  # since the subject's first event
    visits: np.ndarray  # counted over all subjects
    subjects: np.ndarray
    intervals: np.ndarray  # the last interval token before


def fit_pace(sequences: Iterable[Encoded], tokens: int) -> Pace:
    """The pace of train subjects' whole sequences, for a vocabulary of `tokens`."""
    parts = list(sequences)
    if not parts:
        raise DataError("No train subject has events: nothing says how records move on.")
    codes, types, times = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("codes", "types", "times")
    )
    most, after = _types(codes.astype(np.int64), types, tokens)
    events = _events(codes, types, times)
    between = _between(events)
    intervals = _fit_intervals(between)
    return Pace(most, after, _fit_steps(events), intervals, _fit_waits(between, intervals))


def _types(
    codes: np.ndarray, types: np.ndarray, tokens: int
) -> tuple[tuple[int, ...], dict[int, tuple[int, ...]]]:
    """Most frequent types by token, and by the type before where a token has several; the least of equals."""
    counts = np.bincount(codes * T.N_TYPES + types, minlength=tokens * T.N_TYPES).reshape(tokens, T.N_TYPES)
    most = counts.argmax(1)
    most[list(_FIXED)] = list(_FIXED.values())
    several = np.flatnonzero((counts > 0).sum(1) > 1)
    after = {code: _types_after(codes, types, code) for code in several.tolist() if code >= len(S.SPECIALS)}
    return tuple(most.tolist()), after


def _types_after(codes: np.ndarray, types: np.ndarray, code: int) -> tuple[int, ...]:
    where = np.flatnonzero(codes == code)
    where = where[where > 0]
    pairs = types[where - 1].astype(np.int64) * T.N_TYPES + types[where]
    counts = np.bincount(pairs, minlength=T.N_TYPES**2).reshape(T.N_TYPES, T.N_TYPES)
    return tuple(np.where(counts.any(1), counts.argmax(1), T.PAD).tolist())


def _events(codes: np.ndarray, types: np.ndarray, times: np.ndarray) -> _Events:
    index = np.flatnonzero(is_event(types))
    last_interval = np.maximum.accumulate(np.where(types == T.INTERVAL, np.arange(len(types)), 0))
    return _Events(
        codes[index].astype(np.int64),
        types[index].astype(np.int64),
        times[index].astype(np.float64) * 7,
        np.cumsum(types == T.VS)[index],
        np.cumsum(types == T.CLS)[index],
        codes[last_interval][index],
    )


def _fit_steps(events: _Events) -> tuple[Step, ...]:
    """Days between neighbours in a visit. A result that came late runs back in time: that counts as 0."""
    within = np.flatnonzero(np.diff(events.visits) == 0)
    ascends = events.codes[within + 1] > events.codes[within]
    key = (events.types[within] * T.N_TYPES + events.types[within + 1]) * 2 + ascends
    found = _quantiles_by(key, np.maximum(np.diff(events.days)[within], 0))
    return tuple(
        Step(key // 2 // T.N_TYPES, key // 2 % T.N_TYPES, bool(key % 2), days) for key, days in found.items()
    )


class _Between(NamedTuple):
    """What lies between one visit and the next, over all subjects; shape (G,)."""

    last: np.ndarray  # type of the last event before
    codes: np.ndarray  # its token where it ends an encounter, else PAD
    intervals: np.ndarray  # interval token
    days: np.ndarray  # kept to what the interval token stands for


def _between(events: _Events) -> _Between:
    gaps = np.flatnonzero((np.diff(events.visits) > 0) & (np.diff(events.subjects) == 0))
    tokens = events.intervals[gaps + 1]
    known = (tokens >= S.FIRST_WEEK) & (tokens <= S.LONG_TERM)
    gaps, tokens = gaps[known], tokens[known].astype(np.int64)
    bounds = np.array([interval_days(token) for token in range(S.FIRST_WEEK, S.LONG_TERM + 1)])
    bounds[-1, 1] = np.inf
    first, end = bounds[tokens - S.FIRST_WEEK].T
    days = np.clip(np.diff(events.days)[gaps], first, end - _JUST_BELOW)
    last = events.types[gaps]
    return _Between(last, np.where(np.isin(last, ENDS), events.codes[gaps], S.PAD), tokens, days)


def _fit_intervals(between: _Between) -> dict[int, tuple[float, ...]]:
    """Days between visits, by interval token, of those that do not begin as the one before ends."""
    later = between.days > 0
    return _quantiles_by(between.intervals[later], between.days[later])


def _fit_waits(between: _Between, after_any: dict[int, tuple[float, ...]]) -> tuple[Wait, ...]:
    """Days between visits by what ended and interval token, where they differ from those after any visit."""
    keys, which = np.unique(np.stack(between[:3]), axis=1, return_inverse=True)
    found = []
    for i, (last, code, interval) in enumerate(keys.T.tolist()):
        days = between.days[which.reshape(-1) == i]
        if len(days) >= N_QUANTILES:
            found.append(Wait(last, code, interval, _quantiles(np.sort(days))))
        elif not days.all():
            found.append(Wait(last, code, interval, _of_few(days, after_any.get(interval, ()))))
    return tuple(found)


def _of_few(days: np.ndarray, after_any: tuple[float, ...]) -> tuple[float, ...]:
    """Quantiles where there are few: as often 0 as these, and otherwise as long as after any visit."""
    at_once = round(N_QUANTILES * float((days == 0).mean()))  # none or all only where it is so of these
    left = N_QUANTILES - at_once
    return (0.0,) * at_once + tuple(_at(after_any, (i + 0.5) / left) for i in range(left))


def _quantiles_by(keys: np.ndarray, values: np.ndarray) -> dict[int, tuple[float, ...]]:
    """Quantiles of the values of each key: values that occur, so that nothing lies between 0 and a shift."""
    order = np.lexsort((values, keys))
    keys, values = keys[order], values[order]
    distinct, starts = np.unique(keys, return_index=True)
    parts = np.split(values, starts[1:]) if len(distinct) else []
    return {int(key): _quantiles(part) for key, part in zip(distinct, parts, strict=True)}


def _quantiles(ordered: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(ordered[int(place * len(ordered))]), 6) for place in _PLACES)


_PLACES = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES


def _at(quantiles: Sequence[float] | np.ndarray, place: float) -> float:
    return float(quantiles[int(place * len(quantiles))])
