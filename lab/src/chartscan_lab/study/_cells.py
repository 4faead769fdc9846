"""The cells of a study, one for each row and seed: trained, asked, kept on disk, and never done twice.

    OUT/trained/<id>          the artifact; <id> is a hash of everything that decides it (recipe with all
                              settings and seed, dataset, labels, subjects), so studies share it
    OUT/trained/body-<id>     a pretrained body, which all rows that may share their pretraining start from
    OUT/answers/<id>-<asked>  a file of PREDICTIONS of held_out for each task that the artifact has learned,
                              with the facts of the training beside them

A `Trainer` trains and asks; this module knows what is still to do, and says how long it takes.
"""

import hashlib
import json
import time
from collections.abc import Container, Iterable, Iterator, Mapping
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
from chartscan.runs.job import Watcher, of_subjects
from chartscan.runs.work import settings_of
from chartscan.schema import HELD_OUT, TRAIN, TUNING
from chartscan.store.dataset import Dataset
from chartscan_lab.bench import efficiency as bench
from chartscan_lab.study._facts import facts_of, made_with
from chartscan_lab.study._made_with import Code, current
from chartscan_lab.study._rows import Facts, Row, Subjects, subjects_of
from chartscan_lab.study._time_zero import asked_at, time_zeros


class Training(NamedTuple):
    """One artifact to make."""

    recipe: msgspec.Struct  # resolved, with its seed
    subjects: Subjects
    own_split: bool  # the subjects are those of the dataset's own splits
    body: "Training | None" = None  # the pretraining that it goes on from; None: it does all itself


class Trainer(Protocol):
    """Whoever turns a training into an artifact and asks it."""

    def resolve(self, recipe: str, settings: list[str]) -> msgspec.Struct:
        """The recipe with its settings; ConfigError where there is none such."""
        ...

    def body_of(self, recipe: msgspec.Struct) -> msgspec.Struct | None:
        """The pretraining of a recipe alone, the same for all recipes that may share it; None without any."""
        ...

    def train(self, training: Training, out: Path, resume: bool, start: Path | None) -> None:
        """Publishes the artifact at `out`, whole or not at all; `start` holds its trained body."""
        ...

    def ask(self, artifact: Path, labels: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """PREDICTIONS by task, rows as in `labels`, of the tasks that the artifact has learned."""
        ...

    def measure(self, recipes: Mapping[str, msgspec.Struct], settings: bench.Settings) -> dict[str, Any]:
        """What `bench models` finds of these recipes on the train subjects, under any names."""
        ...

    def run_record(self, artifact: Path) -> Mapping[str, Any]:
        """run.json of the artifact."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a study works: its data, where it keeps cells, and who shows progress."""

    out: Path
    watcher: Watcher
    seeds: int
    only: list[str] = field(default_factory=list)
    resume: bool = False
    threads: int = 1
    device: str = "cpu"
    replicates: int = 1000  # bootstrap resamples
    data: "StudyData | None" = None  # None: the study makes its own


@dataclass(frozen=True)
class StudyData:
    """The dataset, LABELS by task, and who trains."""

    dataset: Dataset
    labels: Mapping[str, pa.Table]
    trainer: Trainer
    truth: Path | None = None  # the true risks of simulated data

    @property
    def task(self) -> str:
        """The one task of a study that is about one."""
        (task,) = self.labels
        return task

    @property
    def facts(self) -> Facts:
        """Sizes."""
        train = [of_subjects(table, self.dataset.subject_ids(TRAIN)) for table in self.labels.values()]
        sizes = {split: len(self.dataset.subject_ids(split)) for split in (TRAIN, TUNING, HELD_OUT)}
        return Facts(sizes, max(table.num_rows for table in train))

    @cached_property
    def time_zeros(self) -> dict[str, np.ndarray]:
        """Of each label, by task, read from the events once."""
        return {task: time_zeros(self.dataset, table) for task, table in self.labels.items()}


class Cell(NamedTuple):
    """One row with one seed, and where its parts are kept."""

    row: Row
    seed: int
    training: Training
    asked: Mapping[str, pa.Table]  # LABELS by task
    artifact: Path
    answers: Path  # a folder


def cells_of(rows: Iterable[Row], place: Place) -> list[Cell]:
    """Every cell, seed by seed, so that all rows have one seed before any has two."""
    assert place.data is not None
    rows = list(rows)
    return [_cell(row, seed, place, place.data) for seed in range(place.seeds) for row in rows]


def run_cells(cells: list[Cell], place: Place) -> None:
    """Trains and evaluates what is not finished; shows what is done and how long the rest takes."""
    assert place.data is not None
    if any(table.num_rows == 0 for cell in cells for table in cell.asked.values()):
        raise DataError(
            "No held-out subject has a label, so nothing can be evaluated. Where the outcomes of the "
            "held-out set are not known: chartscan train, label --questions, and predict."
        )
    left = [cell for cell in cells if not cell.answers.exists()]
    if len(left) < len(cells):
        place.watcher.say(f"{len(cells) - len(left)} of {len(cells)} cells are finished already")
    clock = Pace([_kind(cell.row) for cell in left])
    for number, cell in enumerate(left):
        place.watcher.say(f"cell {number + 1} of {len(left)}: {cell.row.name}, seed {cell.seed}")
        with clock.timed(_kind(cell.row)) as seconds:
            _finish(cell, place, place.data)
        place.watcher.say(f"  finished in {seconds[0]:,.0f} s{clock.time_left()}")


def codes_of(cells: list[Cell], wanted: Container[str]) -> Iterator[tuple[str, list[Code]]]:
    """By row, the code of every finished cell, and the present one for the others of rows `wanted`."""
    for cell in cells:
        kept = next(iter(sorted(cell.answers.glob("*.parquet"))), None)
        if kept:
            yield cell.row.name, made_with(read_predictions(kept).run or {})
        elif cell.row.name in wanted:
            yield cell.row.name, [current()]


def finished(cells: list[Cell], task: str) -> list[tuple[Cell, PredictionSet]]:
    """The cells that have answers to `task`, with them."""
    found = [(cell, cell.answers / f"{task}.parquet") for cell in cells]
    return [(cell, read_predictions(path)) for cell, path in found if path.exists()]


def _cell(row: Row, seed: int, place: Place, data: StudyData) -> Cell:
    training = _training(row, seed, data)
    asked = {task: _asked(row, task, training.subjects[HELD_OUT], data) for task in data.labels}
    key = training_key(row.recipe, training, data)
    return Cell(
        row=row,
        seed=seed,
        training=training,
        asked=asked,
        artifact=place.out / "trained" / key,
        answers=place.out / "answers" / f"{key}-{_tables_hash(asked)[:8]}",
    )


def _training(row: Row, seed: int, data: StudyData) -> Training:
    recipe = data.trainer.resolve(row.recipe, [*row.settings, f"seed={seed}"])
    subjects = subjects_of(data.dataset, row, seed)
    own = not row.pooled and row.train_subjects is None and row.tuning_share is None
    body = data.trainer.body_of(recipe) if row.shared_pretraining else None
    return Training(recipe, subjects, own, Training(body, subjects, own) if body else None)


def _asked(row: Row, task: str, subjects: np.ndarray, data: StudyData) -> pa.Table:
    rows = np.isin(data.labels[task]["subject_id"].to_numpy(), subjects)
    asked = data.labels[task].filter(pa.array(rows))
    return asked if row.hours is None else asked_at(asked, data.time_zeros[task][rows], row.hours)


def training_key(name: str, training: Training, data: StudyData) -> str:
    """A name for the artifact: two trainings share it when no setting, datum or seed differs.

    Settings at their default are part of it. Without them a new setting would keep every artifact, but one
    whose default has changed would be taken for what it is not. The code is no part: see `_made_with`.
    """
    parts = {
        "recipe": type(training.recipe).__name__,
        "settings": settings_of(training.recipe),
        "dataset": data.dataset.fingerprint,
        "labels": _tables_hash(data.labels),
        "subjects": {split: _hash([ids]) for split, ids in training.subjects.items() if split != HELD_OUT},
        "body": training_key("body", training.body, data) if training.body else None,
    }
    text = json.dumps(parts, sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _finish(cell: Cell, place: Place, data: StudyData) -> None:
    body = _body(cell, data)
    if not cell.artifact.exists():
        if body and not body.exists():
            assert cell.training.body is not None
            _train(cell.training.body, body, None, place, data)
        _train(cell.training, cell.artifact, body, place, data)
    answers = data.trainer.ask(cell.artifact, cell.asked)
    extra = {"recipe": cell.row.recipe, "seed": cell.seed, "dataset": data.dataset.fingerprint}
    extra |= _facts(cell.artifact, body, data)
    with files.sealed(cell.answers) as folder:
        for task, table in answers.items():
            write_predictions(folder / f"{task}.parquet", table, task, cell.row.recipe, extra)


def _body(cell: Cell, data: StudyData) -> Path | None:
    """Where the body is that the cell's training goes on from."""
    body = cell.training.body
    return cell.artifact.with_name(training_key("body", body, data)) if body else None


def _train(training: Training, artifact: Path, body: Path | None, place: Place, data: StudyData) -> None:
    artifact.parent.mkdir(parents=True, exist_ok=True)
    begun = artifact.with_name(artifact.name + ".work").exists()
    start = time.monotonic()
    data.trainer.train(training, artifact, place.resume and begun, body)
    if not begun:  # else this is not all the time it took
        files.write_json(_seconds_file(artifact), {"seconds": round(time.monotonic() - start, 3)})


def _facts(artifact: Path, body: Path | None, data: StudyData) -> dict[str, Any]:
    """What the training cost, that of its body included."""
    runs = [data.trainer.run_record(path) for path in (body, artifact) if path]
    seconds = [_seconds(path) for path in (body, artifact) if path]
    return facts_of(runs, seconds)


def _kind(row: Row) -> str:
    """What decides about how long a cell takes: all but the number of labels."""
    return " ".join([row.recipe, *(one for one in row.settings if not one.startswith("label_limit="))])


def _seconds_file(artifact: Path) -> Path:
    return artifact.with_name(artifact.name + ".seconds.json")


def _seconds(artifact: Path) -> float | None:
    path = _seconds_file(artifact)
    return json.loads(path.read_bytes())["seconds"] if path.exists() else None


def _tables_hash(tables: Mapping[str, pa.Table]) -> str:
    parts = sorted((task, _table_hash(table)) for task, table in tables.items())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _table_hash(table: pa.Table) -> str:
    return _hash([table[name].to_numpy(zero_copy_only=False) for name in table.column_names])


def _hash(arrays: Iterable[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


class Pace:
    """Seconds a cell, by its kind, and so the time left."""

    def __init__(self, kinds: list[str]) -> None:
        self._left = list(kinds)
        self._seconds: dict[str, list[float]] = {}

    @contextmanager
    def timed(self, kind: str) -> Iterator[list[float]]:
        """Times one cell; the list holds the seconds afterwards."""
        start, seconds = time.monotonic(), [0.0]
        yield seconds
        seconds[0] = time.monotonic() - start
        self._seconds.setdefault(kind, []).append(seconds[0])
        self._left.remove(kind)

    def time_left(self) -> str:
        """`, about 12 min left`; a kind not yet seen is taken to need as long as the mean of the others."""
        if not self._left:
            return ""
        every = [second for seconds in self._seconds.values() for second in seconds]
        left = sum(float(np.mean(self._seconds.get(kind, every))) for kind in self._left)
        return f", about {left / 60:,.0f} min left" if left >= 60 else f", about {left:,.0f} s left"
