"""Every error a user can meet, as one tree.

    ChartscanError
    ├── DataError        the user's data: where, expected, found, what to do (exit code 5)
    │   └── BudgetError  too many records had to be put into quarantine    (exit code 4)
    ├── ConfigError      a setting is wrong                               (exit code 2)
    ├── NonFinite        training met an infinite loss or gradient        (in training.update)
    ├── Interrupted      training was asked to stop, and saved            (exit code 143, in recipes)
    └── MissingExtra     an optional package is needed, with its install command

Messages name files, lines, columns and counts, never the content of a record.
"""

import difflib
from collections.abc import Iterable, Mapping


class ChartscanError(Exception):
    """The base class of all errors that chartscan raises on purpose."""

    exit_code = 1


class DataError(ChartscanError):
    """The data given by the user cannot be used as it is."""

    exit_code = 5


class BudgetError(DataError):
    """More records were quarantined than the error budget allows; nothing was published."""

    exit_code = 4


class ConfigError(ChartscanError):
    """A setting, a name or a path given by the user is wrong."""

    exit_code = 2


class MissingExtra(ChartscanError):
    """An optional package is missing; the message holds the command that installs it."""

    exit_code = 2

    def __init__(self, package: str, extra: str):
        super().__init__(f"{package} is not installed. Install it with: pip install 'chartscan[{extra}]'")


def check_settings(sound: Mapping[str, bool], of: str = "Settings") -> None:
    """Raise ConfigError with the names of the settings that are not sound."""
    wrong = [name for name, holds in sound.items() if not holds]
    if wrong:
        raise ConfigError(f"{of} out of range: {', '.join(wrong)}.")


def check_at_least_one(settings: object, *names: str, of: str = "model") -> None:
    """Raise ConfigError for the first of the numbers `names` of `settings` that is below 1."""
    for name in names:
        if getattr(settings, name) < 1:
            raise ConfigError(f"{of}.{name} is {getattr(settings, name)}; expected at least 1.")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the hint after a wrong name: the nearest valid one, and all."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{hint} Known: {', '.join(known)}."
