"""The tokens of a record as arrays, and which of them fit a context."""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from chartscan.inputs.tokens import types as T

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000

Duration = TypeVar("Duration", int, np.ndarray)


def weeks(duration_us: Duration):
    """Weeks in a duration."""
    return duration_us / (7 * DAY_US)


def age_years(since_birth_us: Duration):
    """Years of 365.25 days since birth; 0 before it."""
    return np.maximum(since_birth_us, 0) / (365.25 * DAY_US)


DTYPES: dict[str, DTypeLike] = {
    "codes": np.int32,
    "types": np.uint8,
    "ages": np.float32,
    "times": np.float32,
    "gaps": np.float32,
    "segments": np.uint8,
    "visit_orders": np.int16,
    "attributed": np.bool_,
    "known": "datetime64[us]",
}


@dataclass(frozen=True)
class Encoded:
    """One subject's tokens in the order they became known, as arrays (n,).

    Where `attributed` is false, age, time, gap, segment and visit order are 0 and mean nothing.
    """

    codes: np.ndarray  # int32, token ids
    types: np.ndarray  # uint8, sequences.types
    ages: np.ndarray  # float32, years at the event; 0 while the birth is not known
    times: np.ndarray  # float32, weeks since the subject's first event; negative for what happened before it
    gaps: np.ndarray  # float32, weeks since the previous attributed token; negative where time runs back
    segments: np.ndarray  # uint8, 1 and 2 in turn by visit
    visit_orders: np.ndarray  # int16, 1-based, at most MAX_VISIT_ORDER
    attributed: np.ndarray  # bool
    known: np.ndarray  # datetime64[us], ascending; [CLS] and static facts before every instant

    @property
    def n(self) -> int:
        """Number of tokens."""
        return len(self.codes)

    def prefix(self, end: int) -> "Encoded":
        """The first `end` tokens, as views."""
        return Encoded(*(getattr(self, f.name)[:end] for f in fields(self)))


class Cut(NamedTuple):
    """The tokens of a window: [CLS], `statics` facts, [VS] if `visit >= 0`, start..end."""

    statics: int
    visit: int  # index of the [VS] of the visit that the window begins in; -1 where none is prepended
    start: int
    end: int

    @property
    def length(self) -> int:
        return 1 + self.statics + (self.visit >= 0) + self.end - self.start


def visible(encoded: Encoded, prediction_time: np.datetime64) -> int:
    """Number of tokens known at `prediction_time`, that instant included: a prefix."""
    instant = prediction_time.astype("datetime64[us]")
    return int(np.searchsorted(encoded.known, instant, side="right"))


def cut(types: np.ndarray, end: int, context: int) -> Cut:
    """Return the latest of the first `end` tokens that fit into `context`.

    It never starts inside a structure. The published rule: keep the last `context - 2` tokens; skip what is
    left of a closed visit and its interval, so that the window starts at [VS] or at an event; put [CLS], and
    [VS] before an event, in front. Unlike the published rule, the static facts after [CLS] are kept (up to a
    quarter of the context).
    """
    statics = _statics(types[:end])
    if end <= context:
        return Cut(statics, -1, 1 + statics, end)
    statics = min(statics, context // 4)
    start = end - context + 2 + statics
    start = min(start + {T.VE: 3, T.REG: 2, T.INTERVAL: 1}.get(int(types[start]), 0), end)
    if start == end or types[start] == T.VS:
        return Cut(statics, -1, start, end)
    return Cut(statics, start - 1 - int(np.argmax(types[:start][::-1] == T.VS)), start, end)


def _statics(types: np.ndarray) -> int:
    others = np.flatnonzero(types[1:] != T.STATIC)
    return int(others[0]) if len(others) else len(types) - 1


def window(encoded: Encoded, end: int, context: int) -> Encoded:
    """Return the tokens of `cut`, with visits numbered from 1 and first gap 0.

    `times` still count from the subject's first event. A sequence that fits is returned as it is.
    """
    if end <= context:
        return encoded.prefix(end)
    kept = cut(encoded.types, end, context)
    index = window_index(encoded, end, context)
    taken = Encoded(*(getattr(encoded, f.name)[index] for f in fields(encoded)))
    number = np.cumsum(taken.types == T.VS)
    return replace(
        taken,
        gaps=_gaps_within(taken, prepended=kept.visit >= 0),
        segments=np.where(taken.attributed, segment(number), 0).astype(np.uint8),
        visit_orders=np.where(taken.attributed, visit_order(number), 0).astype(np.int16),
    )


def window_index(encoded: Encoded, end: int, context: int) -> np.ndarray:
    """Which of the subject's tokens `window` shows, in its order (int64)."""
    kept = cut(encoded.types, end, context)
    visit = np.array([kept.visit] if kept.visit >= 0 else [], dtype=np.int64)
    return np.concatenate([np.arange(1 + kept.statics), visit, np.arange(kept.start, kept.end)])


def _gaps_within(taken: Encoded, prepended: bool) -> np.ndarray:
    """Gaps that do not reach before the window: 0 at its first attributed token, and counted from there.

    The second gap needs counting only after a prepended [VS] that carries its visit's time.
    """
    gaps = taken.gaps.copy()
    attributed = np.flatnonzero(taken.attributed)
    gaps[attributed[:1]] = 0
    if prepended and len(attributed) > 1 and taken.types[attributed[0]] == T.VS:
        gaps[attributed[1]] = taken.times[attributed[1]] - taken.times[attributed[0]]
    return gaps


def segment(visit: np.ndarray | int) -> np.ndarray | int:
    """1 for odd visits, 2 for even ones."""
    return 2 - visit % 2


def visit_order(visit: np.ndarray | int) -> np.ndarray:
    """The number of a visit, as far as numbers go."""
    return np.minimum(visit, T.MAX_VISIT_ORDER)
