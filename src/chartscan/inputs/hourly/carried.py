"""The carried state: what is known of each variable after every hour.

Step h covers (h, h + 1] hours; time zero belongs to step 0. Everything is causal. `carried_grid` makes the
state of many stays at once, `CarriedStream` of one live stay hour by hour. What an observation changes both
read off `Known` through the one table of channels below, where such a channel is added by adding its line;
what changes as hours leave a window (`_ROLLING`) each makes in its own way.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from chartscan.errors import DataError
from chartscan.inputs.hourly.triplets import Stay, Triplet
from chartscan.inputs.hourly.variables import Variables


class Known(NamedTuple):
    """Known values of K variables after a step, scaled; 0 where never observed."""

    in_step: np.ndarray  # (K,) observations in this step
    low: np.ndarray  # lowest in this step; the last value where there is none
    high: np.ndarray
    last: np.ndarray
    last_hour: np.ndarray  # hours at the last observation; -inf where never
    total: np.ndarray  # observations since time zero, as all that follow
    mean: np.ndarray
    sd: np.ndarray  # of the population
    lowest: np.ndarray
    highest: np.ndarray
    first: np.ndarray
    first_hour: np.ndarray  # hours at the first observation; inf where never


# Hours since the last observation change with every step; `_aged` makes them from `last_hour`.
_SINCE = "hours_since"
_CHANNELS: dict[str, Callable[[Known], np.ndarray]] = {
    "last": lambda known: known.last,
    "observed": lambda known: known.in_step > 0,
    "count": lambda known: np.log1p(known.in_step),
    _SINCE: lambda known: known.last_hour,
    "ever": lambda known: known.total > 0,
    "low": lambda known: known.low,
    "high": lambda known: known.high,
    "running_count": lambda known: np.log1p(known.total),
    "running_mean": lambda known: known.mean,
    "running_sd": lambda known: known.sd,
    "running_low": lambda known: known.lowest,
    "running_high": lambda known: known.highest,
    "first": lambda known: known.first,
    "hours_first": lambda known: _log_hours(known.first_hour),
}
# Over the half of the window that ends with the step, lowest and highest; of each quarter of the window,
# the k-th before the latest, the mean. Where nothing was observed in it, the last value known at its end.
MEANS = 4
_ROLLING = ("window_low", "window_high", *(f"mean_{k}" for k in range(MEANS)))
CHANNELS = (*_CHANNELS, *_ROLLING)
_SATURATION_HOURS = 48.0  # a value as old as this, or never seen, has age 1


def steps_of(end_hours: float | np.ndarray) -> np.ndarray:
    """Return the steps of a stay `end_hours` long: at least 1, the last maybe shorter."""
    return np.maximum(np.ceil(end_hours), 1).astype(np.int64)


def carried(stay: Stay, variables: Variables, end_hours: float) -> np.ndarray:
    """The carried state of a stay up to `end_hours` (steps, V, C) float32.

    Of a longer stay the last `window_hours` hours are kept; all statistics look back beyond them.
    """
    seen = int(np.searchsorted(stay.hours, np.float32(end_hours), side="right"))
    numbers = stay.variables[:seen]
    values = variables.scaled(numbers, stay.values[:seen])
    steps = steps_of(np.array([end_hours]))
    rows = np.zeros(seen, dtype=np.int64)
    window = math.ceil(variables.config.window_hours)
    return carried_grid(rows, stay.hours[:seen], numbers, values, steps, variables.n_variables, window)[0]


def carried_grid(
    rows: np.ndarray,
    hours: np.ndarray,
    variables: np.ndarray,
    values: np.ndarray,
    steps: np.ndarray,
    n_variables: int,
    window: int,
) -> np.ndarray:
    """Return the carried state of R stays (R, H, V, C) float32.

    Zeros after the last step of a stay. N events in order of row and then of time: `rows` (N,), `hours`,
    `variables` 1 .. V, `values` scaled, none after the last step. `steps` (R,) are those of each stay from
    time zero, of which the last `window` are given; H is the most of any stay.
    """
    begins = np.maximum(steps - window, 0)  # (R,) first step given
    given = steps - begins
    # Rolling windows of the first steps given look back over `lead` earlier ones.
    lead = min(int(begins.max(initial=0)), MEANS * _quarter(window))
    keys = rows * n_variables + variables - 1
    cells = _cells(keys, _step(hours), hours, values)
    stays, numbers = np.divmod(cells.keys, n_variables)
    columns = cells.steps - begins[stays] + lead
    shown = columns >= 0
    places = stays, np.maximum(columns, 0), numbers
    # Of the table, entry 2k is cell k (from 1) as later steps see it, entry 2k + 1 as its own step does, and
    # entry 0 what was never seen.
    entry = 2 * np.arange(1, len(cells.keys) + 1) + shown
    grid = np.zeros((len(steps), lead + int(given.max(initial=1)), n_variables), dtype=np.int32)
    # Cells before the first column share it; the latest is written last and stays.
    grid[places] = entry
    latest = np.maximum.accumulate(grid, axis=1)  # entries of a variable rise with time
    latest -= (grid == 0) & (latest & 1 == 1)
    found = _table(cells.known)[latest[:, lead:]]
    ends = begins[:, None] + np.arange(1, found.shape[1] + 1)
    _age(found, ends[:, :, None])
    _fill_extremes(found, cells.known, tuple(index[shown] for index in places), shown, lead, _half(window))
    _fill_means(found, cells.known, latest >> 1, lead, _quarter(window))
    found[np.arange(found.shape[1]) >= given[:, None]] = 0
    return found


def _half(window: int) -> int:
    """Hours of half a window, rounded up."""
    return -(-window // 2)


def _quarter(window: int) -> int:
    """Hours of a quarter of a window, rounded up."""
    return -(-window // MEANS)


def _fill_extremes(
    found: np.ndarray, known: Known, places: tuple[np.ndarray, ...], shown: np.ndarray, lead: int, width: int
) -> None:
    """Lowest and highest over the last `width` steps, into `found` (R, H, V, C).

    `places` (row, column, variable) are those of the cells `shown`, columns from `lead` before the first
    step of `found`.
    """
    last = found[..., CHANNELS.index("last")]
    shape = len(found), lead + found.shape[1], found.shape[2]
    for name, cells, combine, nothing in (
        ("window_low", known.low, np.minimum, np.inf),
        ("window_high", known.high, np.maximum, -np.inf),
    ):
        grid = np.full(shape, nothing, dtype=np.float32)
        grid[places] = cells[shown]
        covered = 1  # steps; overlaps change neither minimum nor maximum
        while covered < width:
            by = min(covered, width - covered)
            combine(grid[:, by:], grid[:, :-by], out=grid[:, by:])
            covered += by
        extreme = grid[:, lead:]
        found[..., CHANNELS.index(name)] = np.where(extreme == nothing, last, extreme)


def _fill_means(found: np.ndarray, known: Known, latest: np.ndarray, lead: int, width: int) -> None:
    """Means of the last `width` steps and of as many before them, into `found` (R, H, V, C).

    `latest` (R, lead + H, V) numbers the latest cell of each step from 1, 0 where there is none. A sum over
    a window is the running sum at its end less that at its start.
    """
    before = np.zeros_like(latest)
    before[:, width:] = latest[:, :-width]
    count, total, first, last = (
        np.append(0.0, cells)
        for cells in (known.total, known.total * (known.mean - known.first), known.first, known.last)
    )
    means = last.astype(np.float32)[latest]
    seen = latest != before
    now, then = latest[seen], before[seen]
    means[seen] = first[now] + (total[now] - total[then]) / (count[now] - count[then])
    steps = found.shape[1]
    for k in range(MEANS):
        shift = k * width  # the k-th mean is the latest mean of k * width steps ago
        earlier = means[:, max(lead - shift, 0) : max(lead + steps - shift, 0)]
        found[:, steps - earlier.shape[1] :, :, CHANNELS.index(f"mean_{k}")] = earlier


class CarriedStream:
    """The carried state of one live stay, fed in the order of `TripletStream`."""

    def __init__(self, variables: Variables):
        self._variables = variables
        n = variables.n_variables
        self._known = _never(n)
        window = math.ceil(variables.config.window_hours)
        self._quarter = _quarter(window)
        self._sum = np.zeros(n)  # of the values of the open hour
        self._hours: deque[_Hour] = deque(maxlen=_half(window))  # the latest hours
        self._means: deque[np.ndarray] = deque(maxlen=(MEANS - 1) * self._quarter + 1)  # mean_0 of each
        self._squares = np.zeros(n)  # summed squares of the distance to the mean
        self.hour = 0  # steps closed

    def push(self, triplet: Triplet) -> None:
        """Add a triplet of the open hour; DataError for any other hour."""
        if int(_step(np.array([triplet.hours]))[0]) != self.hour:
            raise DataError(
                f"A triplet does not belong to the open hour ({self.hour}, {self.hour + 1}]:"
                " push triplets in order and close every hour."
            )
        i = triplet.variable - 1
        at = np.array([triplet.variable])
        x = float(self._variables.scaled(at, np.array([triplet.value], dtype=np.float32))[0])
        k = self._known
        fresh, never = k.in_step[i] == 0, k.total[i] == 0
        k.low[i] = x if fresh else min(k.low[i], x)
        k.high[i] = x if fresh else max(k.high[i], x)
        k.lowest[i] = x if never else min(k.lowest[i], x)
        k.highest[i] = x if never else max(k.highest[i], x)
        if never:
            k.first[i], k.first_hour[i] = x, triplet.hours
        self._sum[i] += x
        k.in_step[i] += 1
        k.total[i] += 1
        k.last[i], k.last_hour[i] = x, triplet.hours
        before = x - k.mean[i]
        k.mean[i] += before / k.total[i]
        self._squares[i] += before * (x - k.mean[i])
        k.sd[i] = math.sqrt(self._squares[i] / k.total[i])

    def close_hour(self) -> np.ndarray:
        """Ends the open hour: the carried state at its end (V, C) float32."""
        known = self._known
        found = _stacked(known)
        self.hour += 1
        _age(found, np.array([self.hour]))
        self._roll(found)
        self._known = _stale(known)
        return found

    def _roll(self, found: np.ndarray) -> None:
        """Moves the rolling windows on by the open hour; their channels into `found` (V, C)."""
        known = self._known
        self._hours.append(_Hour(known.in_step, self._sum, known.low, known.high))
        self._sum = np.zeros_like(self._sum)
        hours = list(self._hours)
        quarter = hours[-self._quarter :]
        count, total = sum(hour.counts for hour in quarter), sum(hour.sums for hour in quarter)
        self._means.append(np.where(count == 0, known.last, total / np.maximum(count, 1)))
        low = np.min([np.where(hour.counts > 0, hour.low, np.inf) for hour in hours], axis=0)
        high = np.max([np.where(hour.counts > 0, hour.high, -np.inf) for hour in hours], axis=0)
        found[:, CHANNELS.index("window_low")] = np.where(np.isinf(low), known.last, low)
        found[:, CHANNELS.index("window_high")] = np.where(np.isinf(high), known.last, high)
        for k in range(MEANS):
            place = len(self._means) - 1 - k * self._quarter
            if place >= 0:
                found[:, CHANNELS.index(f"mean_{k}")] = self._means[place]


class _Hour(NamedTuple):
    """What was observed of V variables in an hour that is closed; at a count of 0 the rest means nothing."""

    counts: np.ndarray  # (V,)
    sums: np.ndarray
    low: np.ndarray
    high: np.ndarray


def _step(hours: np.ndarray) -> np.ndarray:
    """The step of each time (n,) int64."""
    return np.maximum(np.ceil(hours).astype(np.int64) - 1, 0)


class _Cells(NamedTuple):
    """The K (stay, variable, step) in which something was observed, by stay and variable and then by step."""

    keys: np.ndarray  # (K,) int64, stay * V + variable - 1
    steps: np.ndarray  # (K,) int64
    known: Known  # at the end of the step


def _cells(keys: np.ndarray, steps: np.ndarray, hours: np.ndarray, values: np.ndarray) -> _Cells:
    narrow = np.uint16 if keys.max(initial=0) < 2**16 else np.int64  # numpy sorts 16 bits ten times as fast
    order = np.argsort(keys.astype(narrow), kind="stable")
    keys, steps, hours, x = keys[order], steps[order], hours[order], values[order].astype(np.float64)
    starts = np.flatnonzero((np.diff(keys, prepend=-1) != 0) | (np.diff(steps, prepend=-1) != 0))
    if not len(starts):
        return _Cells(keys, steps, Known(*(x for _ in Known._fields)))
    lasts = np.append(starts[1:], len(x)) - 1
    begins = np.flatnonzero(np.diff(keys[starts], prepend=-1))  # first cell of each stay and variable
    series = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(starts)))  # (K,)
    place = series, np.arange(len(starts)) - begins[series]
    first = x[starts][begins][series]  # sums are of the distance to it: no variance is lost in the squares
    count = lasts - starts + 1
    moved = x - np.repeat(first, count)
    low, high = np.minimum.reduceat(x, starts), np.maximum.reduceat(x, starts)
    total = _running(np.add, count, place)
    mean = _running(np.add, np.add.reduceat(moved, starts), place) / total
    square = _running(np.add, np.add.reduceat(moved * moved, starts), place) / total
    known = Known(
        in_step=count,
        low=low,
        high=high,
        last=x[lasts],
        last_hour=hours[lasts],
        total=total,
        mean=first + mean,
        sd=np.sqrt(np.maximum(square - mean * mean, 0)),
        lowest=_running(np.minimum, low, place),
        highest=_running(np.maximum, high, place),
        first=first,
        first_hour=hours[starts][begins][series],
    )
    return _Cells(keys[starts], steps[starts], known)


def _running(combine: np.ufunc, cells: np.ndarray, place: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """`combine` over the cells so far of each stay and variable (K,); `place` is (which, how manieth)."""
    padded = np.zeros((int(place[0][-1]) + 1, int(place[1].max()) + 1))  # nothing of the padding is read
    padded[place] = cells
    return combine.accumulate(padded, axis=1)[place]


def _stale(known: Known) -> Known:
    """The same in a later step without an observation."""
    return known._replace(in_step=np.zeros_like(known.in_step), low=known.last.copy(), high=known.last.copy())


def _never(n: int) -> Known:
    """What is known of n variables that were never observed."""
    zeros = Known(*(np.zeros(n) for _ in Known._fields))
    return zeros._replace(last_hour=np.full(n, -np.inf), first_hour=np.full(n, np.inf))


def _table(known: Known) -> np.ndarray:
    """Channels (2 K + 2, C) of what was never seen, twice, and each cell in later steps and in its own."""
    both = np.stack([_stacked(_stale(known)), _stacked(known)], axis=1)
    return np.concatenate([_stacked(_never(2)), both.reshape(-1, len(CHANNELS))])


def _stacked(known: Known) -> np.ndarray:
    """Channels (K, C) float32, hours not yet aged, those of rolling windows still 0."""
    found = np.zeros((len(known.last), len(CHANNELS)), dtype=np.float32)
    for column, channel in zip(found.T, _CHANNELS.values(), strict=False):
        column[:] = channel(known)
    return found


def _age(channels: np.ndarray, ends: np.ndarray) -> None:
    """Turns `last_hour` of (..., C), in place, into the age at `ends` hours: 0 .. 1, on a log scale."""
    since = channels[..., CHANNELS.index(_SINCE)]
    since[...] = _log_hours(ends - since)


def _log_hours(hours: np.ndarray) -> np.ndarray:
    """Hours on a log scale, 0 .. 1."""
    return np.log1p(np.clip(hours, 0, _SATURATION_HOURS)) / math.log1p(_SATURATION_HOURS)
