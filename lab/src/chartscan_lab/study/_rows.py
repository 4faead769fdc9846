"""What a study is made of: rows of a table, and the facts of a dataset that decide which rows there are."""

from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from chartscan.errors import ConfigError, DataError
from chartscan.find import unknown
from chartscan.schema import HELD_OUT, TRAIN, TUNING
from chartscan.store.dataset import Dataset
from chartscan_lab.study._report import Report

Subjects = dict[str, NDArray[np.int64]]  # split -> sorted subject ids
SHARES = (0.64, 0.16, 0.2)  # of train, tuning and held_out where everybody is split anew


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of a table: a recipe, trained and asked once a seed."""

    name: str
    recipe: str
    settings: tuple[str, ...] = ()  # as for --set; `seed` is added
    train_subjects: int | None = None  # number of train subjects, tuning in proportion; None: all
    pooled: bool = False  # each seed splits the whole dataset anew
    shares: tuple[float, float, float] = SHARES  # of that split
    tuning_share: float | None = None  # each seed cuts train and tuning anew, so much for tuning; None: as is
    hours: float | None = None  # asked so long after time zero; None: at the prediction time of the labels
    against: str | None = None  # the row to compare with, where it is not the study's baseline
    shared_pretraining: bool = False  # pretrained once a seed, for all rows that are pretrained so


def for_any_size(recipe: str) -> tuple[str, ...]:
    """Settings of `recipe` where the number of train stays varies.

    The trees of `xgboost-summary` are as many as suit about 3,200 stays; here tuning says how many. `hymate`
    is not refitted by tuning stays, which would be more to learn from than the others have.
    """
    return {"xgboost-summary": ("model.patience=200",), "hymate": ("refit=false",)}.get(recipe, ())


def fair_baseline(recipe: str, folds: str) -> str | None:
    """The row `folds` for a recipe that is itself an ensemble of folds: trees trained alike; else None."""
    return folds if recipe != folds and recipe.endswith(("-folds", "-blend")) else None


class Facts(NamedTuple):
    """As much of dataset and labels as decides which rows there are."""

    subjects: dict[str, int]  # by split
    train_labels: int  # of the task that has most


class Study(Protocol):
    """What a public file of this package assigns to STUDY: a frozen Struct of settings."""

    TITLE: ClassVar[str]
    SEEDS: ClassVar[int]  # unless --seeds says otherwise
    NEEDS_DATA: ClassVar[bool]
    SEVERAL_TASKS: ClassVar[bool]  # takes every task of LABELS; else one
    TRUTH: ClassVar[bool]  # knows what to do with the true risks of simulated data

    def run(self, place: Any) -> Report:
        """Everything that is not finished yet, then the tables. `place` is a `_cells.Place`."""
        ...


def chosen(rows: list[Row], only: list[str]) -> list[Row]:
    """The rows named, or all where none is; ConfigError with the nearest right name."""
    known = [row.name for row in rows]
    for name in only:
        if name not in known:
            raise ConfigError("--only: " + unknown("row", name, known))
    return [row for row in rows if not only or row.name in only]


def subjects_of(dataset: Dataset, row: Row, seed: int) -> Subjects:
    """Train and evaluated subjects of one cell of `row`: a pure function of dataset, row and seed.

    Smaller sets of train subjects are part of the larger ones of the same seed, and every row of a study is
    asked about the same held_out subjects. DataError where the dataset has fewer than the row wants.
    """
    found = _split_anew(dataset.subject_ids(), row.shares, seed) if row.pooled else _own_split(dataset)
    if row.tuning_share is not None:
        found = _cut_anew(found, row.tuning_share, seed)
    return found if row.train_subjects is None else _fewer(found, row.train_subjects, seed)


def _own_split(dataset: Dataset) -> Subjects:
    return {split: dataset.subject_ids(split) for split in (TRAIN, TUNING, HELD_OUT)}


def _split_anew(ids: NDArray[np.int64], shares: tuple[float, float, float], seed: int) -> Subjects:
    order = np.random.default_rng([seed, len(ids)]).permutation(np.sort(ids))
    train, tuning = (round(len(ids) * share) for share in shares[:2])
    parts = np.split(order, [train, train + tuning])
    return {split: np.sort(part) for split, part in zip((TRAIN, TUNING, HELD_OUT), parts, strict=True)}


def _cut_anew(found: Subjects, tuning_share: float, seed: int) -> Subjects:
    if not 0 < tuning_share < 1:
        raise ConfigError(f"tuning_share is {tuning_share}; expected more than 0 and less than 1.")
    pool = np.sort(np.concatenate([found[TRAIN], found[TUNING]]))
    order = np.random.default_rng([seed, len(pool), 2]).permutation(pool)
    tuning = round(len(pool) * tuning_share)
    return found | {TUNING: np.sort(order[:tuning]), TRAIN: np.sort(order[tuning:])}


def _fewer(found: Subjects, train: int, seed: int) -> Subjects:
    if not 1 <= train <= len(found[TRAIN]):
        raise DataError(
            f"A row wants {train} train subjects and the split has {len(found[TRAIN])}. Name smaller sizes, "
            "or use a dataset with more."
        )
    share = train / len(found[TRAIN])
    sizes = {TRAIN: train, TUNING: round(len(found[TUNING]) * share)}
    random = np.random.default_rng([seed, 1])
    return found | {s: np.sort(random.permutation(found[s])[:n]) for s, n in sizes.items()}
