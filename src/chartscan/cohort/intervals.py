"""Times that are known only in part: an interval, and what surely holds of it.

A time known to a day, a month or a year may be any instant from `first` to `last`, both included. A
comparison holds only where it holds for every instant of both; its opposite may then still be unproven.
"""

from datetime import datetime, timedelta
from typing import NamedTuple


class Interval(NamedTuple):
    """An instant that lies somewhere in [first, last]; exact where both are equal."""

    first: datetime
    last: datetime

    def surely_before(self, other: "Interval") -> bool:
        """Whether every instant of this comes before every instant of the other."""
        return self.last < other.first

    def surely_not_after(self, other: "Interval") -> bool:
        """Whether no instant of this comes after one of the other."""
        return self.last <= other.first

    def overlaps(self, other: "Interval") -> bool:
        """Whether both may be the same instant."""
        return self.first <= other.last and other.first <= self.last

    def covers(self, other: "Interval") -> bool:
        """Whether the other lies within this."""
        return self.first <= other.first and other.last <= self.last

    def within(self, other: "Interval") -> "Interval":
        """The part of this that lies within the other; the nearer end of the other where there is none."""
        first = min(max(self.first, other.first), other.last)
        return Interval(first, max(first, min(self.last, other.last)))

    def later(self, by: timedelta) -> "Interval":
        """The interval moved; at the end of the calendar it stays there."""
        return Interval(moved(self.first, by), moved(self.last, by))

    def united(self, other: "Interval") -> "Interval":
        """The smallest interval with both in it."""
        return Interval(min(self.first, other.first), max(self.last, other.last))


def interval(last: datetime, first: datetime | None = None) -> Interval:
    """The interval that ends at `last`; exact without `first`."""
    return Interval(last if first is None else min(first, last), last)


def moved(time: datetime, by: timedelta) -> datetime:
    """`time` moved; a result outside of the calendar is its first or last instant."""
    try:
        return time + by
    except OverflowError:
        return datetime.max if by > timedelta(0) else datetime.min
