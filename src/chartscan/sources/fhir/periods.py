"""The two ends of an encounter: intervals, as far as they can be true.

An end before the start, or one that stands for "still open" (9999, 2099), is none. So is a time that cannot
be read, where the other can.
"""

from typing import NamedTuple

from chartscan.sources.fhir.clock import Clock, Implausible, Zones, inside, offset_written
from chartscan.sources.fhir.outcomes import BAD_TIME, Quarantined
from chartscan.sources.fhir.resources import Period

Interval = tuple[int, int]


class Span(NamedTuple):
    """Intervals of start and end, None where unknown; `flags` name oddities."""

    start: Interval | None
    end: Interval | None
    flags: tuple[str, ...] = ()


def span_of(period: Period | None, clock: Clock, zones: Zones = None) -> Span:
    """The span of a period, without an end that lies before the start; see `unordered_span`."""
    start, end, flags = unordered_span(period, clock, zones)
    if start and end and end[1] < start[0]:
        return Span(start, None, (*flags, "encounter_end_before_start"))
    if start and end:
        start = start[0], inside(start, end[1])
    return Span(start, end, flags)


def unordered_span(period: Period | None, clock: Clock, zones: Zones = None) -> Span:
    """Return both ends of a period; Quarantined if all unreadable or implausible."""
    if period is None:
        return Span(None, None)
    start, start_flag = _read(period.start, "start", clock, zones)
    end, end_flag = _read(period.end, "end", clock, zones)
    flags = [start_flag, end_flag]
    if start is None and end is None and any(flags):
        unreadable = all(flag.endswith("unreadable") for flag in flags if flag)
        raise Quarantined(BAD_TIME) if unreadable else Implausible
    return Span(start, end, tuple(filter(None, flags)))


def zones_of(period: Period | None, clock: Clock) -> list[int]:
    """What lies ahead of UTC, in microseconds, by the offsets written in a period.

    The offset that the site itself has at that time is none of another zone, in winter and in summer.
    """
    texts = (period.start, period.end) if period else ()
    offsets = [(text, ahead) for text in texts if (ahead := offset_written(text)) is not None]
    return [ahead for text, ahead in offsets if ahead != clock.ahead_at(text or "")]


def _read(text: str | None, name: str, clock: Clock, zones: Zones) -> tuple[Interval | None, str]:
    if not text:
        return None, ""
    try:
        return clock.interval(text, zones), ""
    except Implausible:
        return None, f"encounter_{name}_implausible"
    except Quarantined:
        return None, f"encounter_{name}_unreadable"
