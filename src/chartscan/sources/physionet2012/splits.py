"""Which sets, or which shares of them, are train, tuning and held_out: `train=a:0.8,tuning=a:0.2,held_out=b`.

Who of a set falls into which share is decided by the store's keyed hash of the subject alone, so neither the
order of files nor the other subjects matter. Every subject gets exactly one split: the shares of each set
must add up to 1, and every set that was read must be named.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from chartscan.errors import ConfigError
from chartscan.schema import HELD_OUT, SPLITS, TRAIN, TUNING
from chartscan.store.subjects import assign_split

NAMES = (TRAIN, TUNING, HELD_OUT)
EVERYTHING = ""  # stands for all sets
TOLERANCE = 1e-6  # of the sum of the shares
_EXAMPLE = "for example train=a:0.8,tuning=a:0.2,held_out=b, or train=0.7,tuning=0.15,held_out=0.15"

Shares = dict[str, dict[str, float]]  # set -> split -> share of the set


class Part(NamedTuple):
    """One assignment as written: a split gets a share of each of some sets."""

    split: str
    sets: tuple[str, ...]
    share: float


def set_name(text: str) -> str:
    """The short name of a set: `a` of `set-a`, `Set-A` or `a`."""
    name = text.strip().lower()
    return name.removeprefix("set-") or name


def parsed_splits(text: str) -> Shares:
    """Return each split's share of every set; ValueError says what is wrong.

    Sets are named with or without `set-`; `EVERYTHING` is the only set where fractions of everything are
    given.
    """
    shares: Shares = {}
    for part in map(_part, text.split(",")):
        for name in part.sets:
            of_set = shares.setdefault(name, {})
            if part.split in of_set:
                raise ValueError(f"splits: {_named(name)} is given twice to {part.split}")
            of_set[part.split] = part.share
    if EVERYTHING in shares and len(shares) > 1:
        raise ValueError(f"splits: name sets in every part or in none, {_EXAMPLE}")
    for name, of_set in shares.items():
        total = math.fsum(of_set.values())
        if abs(total - 1) > TOLERANCE:
            raise ValueError(
                f"splits: the shares of {_named(name)} add up to {total:g}, expected 1, since every subject "
                "gets exactly one split"
            )
    return shares


def _part(text: str) -> Part:
    split, equals, value = (word.strip() for word in text.partition("="))
    if not equals or split not in NAMES:
        raise ValueError(
            f"splits: expected parts such as train=a:0.8, each of {', '.join(NAMES)}; {_EXAMPLE}"
        )
    sets, colon, share = value.partition(":")
    if not colon and (fraction := _fraction(sets)) is not None:
        return Part(split, (EVERYTHING,), _checked(fraction))
    names = tuple(set_name(name) for name in sets.split("+"))
    if not all(names):
        raise ValueError(f"splits: a set without a name in the part of {split}; {_EXAMPLE}")
    if len(set(names)) < len(names):
        raise ValueError(f"splits: a set is named twice in one part of {split}")
    return Part(split, names, _checked(_fraction(share)) if colon else 1.0)


def _fraction(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _checked(share: float | None) -> float:
    if share is None or not 0 < share <= 1:  # nan fails too
        raise ValueError("splits: a share must be a number above 0 and at most 1, such as 0.8")
    return share


def _named(name: str) -> str:
    return f"set '{name}'" if name else "everything"


def split_table(shares: Shares, subjects: Mapping[str, np.ndarray], seed: int) -> pa.Table:
    """schema.SPLITS of all `subjects` (ids by set).

    ConfigError where a set is named that was not read, or one was read that is not named.
    """
    if EVERYTHING not in shares:
        _check_sets(shares, set(subjects))
    ids, splits = [], []
    for name, of_set in sorted(subjects.items()):
        given = shares.get(EVERYTHING) or shares[name]
        ids.append(of_set)
        splits.append(assign_split(of_set, seed, _fractions(given)))
    columns = [pa.array(np.concatenate(ids), pa.int64()), pa.array(np.concatenate(splits), pa.string())]
    return pa.table(columns, schema=SPLITS)


def _fractions(of_set: Mapping[str, float]) -> tuple[float, float, float]:
    """Shares of train, tuning and held_out; the last one named gets all that is left, rounding included."""
    train, tuning, held_out = (of_set.get(name, 0.0) for name in NAMES)
    if HELD_OUT in of_set:
        return train, tuning, held_out
    return (train, 1.0, 0.0) if TUNING in of_set else (1.0, 0.0, 0.0)


def _check_sets(shares: Shares, found: set[str]) -> None:
    unknown, left_out = sorted(set(shares) - found), sorted(found - set(shares))
    if unknown:
        raise ConfigError(
            f"splits: no set named {', '.join(unknown)} in the input. Found: {', '.join(sorted(found))}."
        )
    if left_out:
        raise ConfigError(
            f"splits: the set {', '.join(left_out)} has no split. Every subject gets one: name the set too, "
            "or ingest a folder without it."
        )
