"""How far a bench is: measurements done, of all that it will take, and what is measured now."""

from chartscan.console import ProgressFunction

__all__ = ["Counter", "ProgressFunction", "silent"]


def silent(done: int, total: int | None, words: str = "") -> None:
    """Shows nothing."""


class Counter:
    """Counts measurements; `total` falls where an implementation turns out not to run."""

    def __init__(self, total: int, progress: ProgressFunction = silent):
        self.done, self.total, self._progress = 0, total, progress

    def skip(self, count: int) -> None:
        """Takes the number of measurements that are left out from the total."""
        self.total -= count

    def next(self, words: str) -> None:
        """One more measurement begins."""
        self._progress(self.done, self.total, words)
        self.done = min(self.done + 1, self.total)
