"""Where visits begin and end, event by event, from what is known so far and nothing later.

Overlapping encounters form one visit, from the first start to the last end. Events outside encounters (late
results, records without encounters) form implicit visits, closed when the next event tells that they are
over: no news for `implicit_gap_hours`, or the start of an encounter. An encounter whose end never comes is
given up after `stale_visit_days` without news.
"""

from typing import NamedTuple

from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.specials import interval_token
from chartscan.inputs.tokens.time import DAY_US, HOUR_US

ORDINARY, OPENER, CLOSER = 0, 1, 2


def kind_of(event_type: str) -> int:
    """Whether an event starts an encounter, ends one, or neither."""
    return {"admission": OPENER, "visit_start": OPENER, "visit_end": CLOSER, "discharge": CLOSER}.get(
        event_type, ORDINARY
    )


class Boundaries(NamedTuple):
    """Tokens around one event: [VE] [REG] interval [VS] before it, [VE] [REG] after it."""

    closes: bool  # the visit before is closed first
    interval: int  # id of the interval token, 0 for none
    opens: bool  # a visit begins with this event
    ends: bool  # the visit ends with this event


class Visits:
    """The visits of one subject so far."""

    def __init__(self, config: SequenceConfig):
        self._implicit_gap = config.implicit_gap_hours * HOUR_US
        self._stale_gap = config.stale_visit_days * DAY_US
        self._open: dict[str | None, int] = {}  # open encounters, with how often each was opened
        self._inside = False
        self._last_end: int | None = None

    def step(self, kind: int, time: int, known: int, quiet: int, encounter: str | None) -> Boundaries:
        """Boundaries around the next event; times in microseconds.

        `quiet` is how long before this event the last one became known. An encounter runs from the `time`
        of its start to that of its end, an implicit visit from its first to its last news (`known`).
        """
        closes = self._inside and self._over(kind, quiet)
        if closes:
            self._open.clear()
            self._last_end = known - quiet
        opens = closes or not self._inside
        interval = 0
        if opens and self._last_end is not None:
            start = time if kind == OPENER else known
            interval = interval_token((start - self._last_end) // DAY_US)
        self._inside = True
        ends = self._count(kind, encounter)
        if ends:
            self._inside, self._last_end = False, time
        return Boundaries(closes, interval, opens, ends)

    def _over(self, kind: int, quiet: int) -> bool:
        """Whether the current visit was over before the next event."""
        if self._open:
            return quiet > self._stale_gap
        return kind == OPENER or quiet > self._implicit_gap

    def _count(self, kind: int, encounter: str | None) -> bool:
        """Count encounters that open and end; whether the last open one ended."""
        if kind == OPENER:
            self._open[encounter] = self._open.get(encounter, 0) + 1
        elif kind == CLOSER and encounter in self._open:
            self._open[encounter] -= 1
            if not self._open[encounter]:
                del self._open[encounter]
            return not self._open
        return False
