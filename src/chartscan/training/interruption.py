"""SIGTERM, SIGUSR1 (a scheduler's warning) and Ctrl-C as a wish to stop, granted at a safe point.

A second Ctrl-C does not wait.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = ("SIGTERM", "SIGUSR1", "SIGINT")  # Windows has no SIGUSR1
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class Interrupted(BaseException):
    """Raised by a signal inside `at_once`; not an Exception, so that no handler below swallows it."""


class Interruption:
    """Whether a signal has come. Within `at_once` it comes as the exception Interrupted."""

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """For long work that may be broken off anywhere and done again."""
        self._at_once = True
        try:
            if self.requested:
                raise Interrupted
            yield
        finally:
            self._at_once = False

    def _on_signal(self, number: int, frame: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        if self._at_once:
            self._at_once = False
            raise Interrupted


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Listens to SIGNALS, as only the main thread can; elsewhere nothing ever interrupts."""
    wish = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.signal(number, wish._on_signal) for number in SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
