"""The cells of a study, one for each row and seed: trained, asked, kept on disk, and never done twice.

    OUT/trained/<id>                  the artifact; <id> is a hash of whatever decides it (recipe with all
                                      settings and seed, dataset, labels, subjects), so studies share it
    OUT/answers/<id>-<asked>.parquet  PREDICTIONS of held_out with the facts of the training beside them

A `Trainer` trains and asks; this module knows what is still to do, and says how long it takes.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
import pyarrow as pa

from chartscan import files
from chartscan.errors import DataError
from chartscan.evaluation import PredictionSet, read_predictions, write_predictions
from chartscan.recipes._job import Watcher
from chartscan.recipes._work import settings_of
from chartscan.recipes.study._facts import facts_of
from chartscan.recipes.study._rows import Facts, Row, Subjects, subjects_of
from chartscan.recipes.study._time_zero import asked_at, time_zeros
from chartscan.schema import HELD_OUT, TRAIN
from chartscan.store.dataset import Dataset


class Training(NamedTuple):
    """One artifact to make."""

    recipe: msgspec.Struct  # resolved, with its seed
    subjects: Subjects
    own_split: bool  # the subjects are those of the dataset's own splits


class Trainer(Protocol):
    """Whoever turns a training into an artifact and asks it."""

    def resolve(self, recipe: str, settings: list[str]) -> msgspec.Struct:
        """The recipe with its settings; ConfigError where there is none such."""
        ...

    def train(self, training: Training, out: Path, resume: bool) -> None:
        """Publishes the artifact at `out`, whole or not at all."""
        ...

    def ask(self, artifact: Path, labels: pa.Table) -> pa.Table:
        """PREDICTIONS, rows as in `labels`."""
        ...

    def run_record(self, artifact: Path) -> Mapping[str, Any]:
        """run.json of the artifact."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a study works: what it is asked about, where it keeps cells, and whom it tells."""

    out: Path
    watcher: Watcher
    seeds: int
    only: list[str] = field(default_factory=list)
    resume: bool = False
    threads: int = 1
    replicates: int = 1000  # bootstrap resamples
    data: "StudyData | None" = None  # None: the study makes its own


@dataclass(frozen=True)
class StudyData:
    """The dataset, LABELS of the one task, and who trains."""

    dataset: Dataset
    task: str
    labels: pa.Table
    trainer: Trainer

    @property
    def facts(self) -> Facts:
        """Sizes."""
        train = np.isin(self.labels["subject_id"].to_numpy(), self.dataset.subject_ids(TRAIN))
        sizes = {split: len(self.dataset.subject_ids(split)) for split in ("train", "tuning", "held_out")}
        return Facts(sizes, int(train.sum()))

    @cached_property
    def time_zeros(self) -> np.ndarray:
        """Of each label, read from the events once."""
        return time_zeros(self.dataset, self.labels)


class Cell(NamedTuple):
    """One row with one seed, and where its parts are kept."""

    row: Row
    seed: int
    training: Training
    asked: pa.Table  # LABELS
    artifact: Path
    answers: Path


def cells_of(rows: Iterable[Row], place: Place) -> list[Cell]:
    """Every cell, seed by seed, so that all rows have one seed before any has two."""
    assert place.data is not None
    rows = list(rows)
    return [_cell(row, seed, place, place.data) for seed in range(place.seeds) for row in rows]


def run_cells(cells: list[Cell], place: Place) -> None:
    """Trains and asks whatever is not finished; tells what is done and about how long the rest takes."""
    assert place.data is not None
    if any(cell.asked.num_rows == 0 for cell in cells):
        raise DataError(
            "No held-out subject has a label, so nobody can be asked. Where the outcomes of the held-out set "
            "are not known: chartscan train, label --questions, and predict."
        )
    left = [cell for cell in cells if not cell.answers.exists()]
    if len(left) < len(cells):
        place.watcher.say(f"{len(cells) - len(left)} of {len(cells)} cells are finished already")
    clock = Pace([cell.row.recipe for cell in left])
    for number, cell in enumerate(left):
        place.watcher.say(f"cell {number + 1} of {len(left)}: {cell.row.name}, seed {cell.seed}")
        with clock.timed(cell.row.recipe) as seconds:
            _finish(cell, place, place.data)
        place.watcher.say(f"  finished in {seconds[0]:,.0f} s{clock.time_left()}")


def finished(cells: list[Cell]) -> list[tuple[Cell, PredictionSet]]:
    """The cells that have answers, with them."""
    return [(cell, read_predictions(cell.answers)) for cell in cells if cell.answers.exists()]


def _cell(row: Row, seed: int, place: Place, data: StudyData) -> Cell:
    recipe = data.trainer.resolve(row.recipe, [*row.settings, f"seed={seed}"])
    subjects = subjects_of(data.dataset, row, seed)
    own = not row.pooled and row.train_subjects is None and row.tuning_share is None
    training = Training(recipe, subjects, own)
    rows = np.isin(data.labels["subject_id"].to_numpy(), subjects[HELD_OUT])
    asked = data.labels.filter(pa.array(rows))
    if row.hours is not None:
        asked = asked_at(asked, data.time_zeros[rows], row.hours)
    key = training_key(row.recipe, training, data)
    return Cell(
        row=row,
        seed=seed,
        training=training,
        asked=asked,
        artifact=place.out / "trained" / key,
        answers=place.out / "answers" / f"{key}-{_table_hash(asked)[:8]}.parquet",
    )


def training_key(recipe: str, training: Training, data: StudyData) -> str:
    """A name for the artifact: two trainings share it when nothing that decides the outcome differs."""
    parts = {
        "recipe": type(training.recipe).__name__,
        "settings": settings_of(training.recipe),
        "dataset": data.dataset.fingerprint,
        "task": data.task,
        "labels": _table_hash(data.labels),
        "subjects": {split: _hash([ids]) for split, ids in training.subjects.items() if split != HELD_OUT},
    }
    text = json.dumps(parts, sort_keys=True)
    return f"{recipe}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _finish(cell: Cell, place: Place, data: StudyData) -> None:
    if not cell.artifact.exists():
        _train(cell, place, data)
    table = data.trainer.ask(cell.artifact, cell.asked)
    facts = facts_of(data.trainer.run_record(cell.artifact), _seconds(cell))
    extra = {"recipe": cell.row.recipe, "seed": cell.seed, "dataset": data.dataset.fingerprint, **facts}
    write_predictions(cell.answers, table, data.task, cell.row.recipe, extra)


def _train(cell: Cell, place: Place, data: StudyData) -> None:
    cell.artifact.parent.mkdir(parents=True, exist_ok=True)
    begun = cell.artifact.with_name(cell.artifact.name + ".work").exists()
    start = time.monotonic()
    data.trainer.train(cell.training, cell.artifact, place.resume and begun)
    if not begun:  # else this is not all the time it took
        files.write_json(_seconds_file(cell), {"seconds": round(time.monotonic() - start, 3)})


def _seconds_file(cell: Cell) -> Path:
    return cell.artifact.with_name(cell.artifact.name + ".seconds.json")


def _seconds(cell: Cell) -> float | None:
    path = _seconds_file(cell)
    return json.loads(path.read_bytes())["seconds"] if path.exists() else None


def _table_hash(table: pa.Table) -> str:
    return _hash([table[name].to_numpy(zero_copy_only=False) for name in table.column_names])


def _hash(arrays: Iterable[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


class Pace:
    """Seconds a cell, by recipe, and so the time left."""

    def __init__(self, recipes: list[str]) -> None:
        self._left = list(recipes)
        self._seconds: dict[str, list[float]] = {}

    @contextmanager
    def timed(self, recipe: str) -> Iterator[list[float]]:
        """Times one cell; the list holds the seconds afterwards."""
        start, seconds = time.monotonic(), [0.0]
        yield seconds
        seconds[0] = time.monotonic() - start
        self._seconds.setdefault(recipe, []).append(seconds[0])
        self._left.remove(recipe)

    def time_left(self) -> str:
        """`, about 12 min left`; a recipe not yet seen is taken to need as long as the mean of the others."""
        if not self._left:
            return ""
        every = [second for seconds in self._seconds.values() for second in seconds]
        left = sum(float(np.mean(self._seconds.get(recipe, every))) for recipe in self._left)
        return f", about {left / 60:,.0f} min left" if left >= 60 else f", about {left:,.0f} s left"
