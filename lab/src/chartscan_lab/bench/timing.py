"""Times of several implementations of one piece of work, taken in turn, so that other load meets all alike.

A round calls each implementation for a moment; the order rotates and turns round from round to round. What is
told is the median round, the fastest and the slowest, and ratios to a baseline.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from chartscan_lab.bench.progress import Counter

MOMENT = 0.05  # seconds that a fast implementation is called for in a round
MOST_CALLS = 1000
FEWEST_ROUNDS = 2

T = TypeVar("T")

Call = Callable[[], object]
Times = dict[int, float]  # round -> seconds a call


class Clock(NamedTuple):
    name: str
    now: Callable[[], float]

    def seconds(self, call: Call, calls: int = 1) -> float:
        """Seconds a call, without collections of garbage, which would strike one call or another."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            start = self.now()
            for _ in range(calls):
                call()
            return (self.now() - start) / calls
        finally:
            if collecting:
                gc.enable()


def clock(threads: int) -> Clock:
    """Processor time for one thread, which other load disturbs least; wall time for several."""
    return (
        Clock("processor time", time.process_time) if threads == 1 else Clock("wall time", time.perf_counter)
    )


class Plan(NamedTuple):
    """How often a slow implementation takes part: in `rounds` at most, for about `seconds` in all."""

    rounds: int = 5
    seconds: float = 8.0

    def taken(self, first: float) -> set[int]:
        """The rounds, evenly spread, of an implementation whose first call took `first` seconds."""
        count = min(self.rounds, max(int(self.seconds / max(first, 1e-9)), FEWEST_ROUNDS))
        return {i * self.rounds // count for i in range(count)}


def in_turn(
    calls: Mapping[str, Call],
    first: Mapping[str, float],
    clock: Clock,
    plan: Plan,
    counter: Counter,
    words: str = "",
) -> dict[str, Times]:
    """Seconds a call of each implementation, by round. All have been called before, in `first` seconds."""
    times: dict[str, Times] = {name: {} for name in calls}
    for r in range(plan.rounds):
        for name in order(list(calls), r):
            counter.next(f"{words} {name}".strip())
            if r in plan.taken(first[name]):
                several = min(max(math.ceil(MOMENT / max(first[name], 1e-9)), 1), MOST_CALLS)
                times[name][r] = clock.seconds(calls[name], several)
    return times


def order(contenders: Sequence[T], round_: int) -> Iterator[T]:
    """The order of a round: rotated by one each time, and every second one backwards."""
    start = round_ % max(len(contenders), 1)
    rotated = [*contenders[start:], *contenders[:start]]
    return reversed(rotated) if round_ % 2 else iter(rotated)


def compared(times: Mapping[str, Times], baseline: str | None) -> dict[str, dict[str, Any]]:
    """Of each implementation: median `seconds`, their `range`, and how often it takes the baseline's time.

    `ratio` is between medians; `ratio_range` spans the rounds in which both took part.
    """
    base = times.get(baseline) if baseline else None
    return {name: _row(own, base) for name, own in times.items()}


def _row(own: Times, base: Times | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "seconds": statistics.median(own.values()),
        "range": [min(own.values()), max(own.values())],
        "rounds": len(own),
    }
    if base:
        ratios = [seconds / base[r] for r, seconds in own.items() if r in base]
        row["ratio"] = row["seconds"] / statistics.median(base.values())
        row["ratio_range"] = [min(ratios), max(ratios)] if ratios else None
    return row
