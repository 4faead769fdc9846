"""The predictions a user names for a report: read, told apart, and checked against model and dataset."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chartscan import files
from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import PredictionSet
from chartscan.evaluation.predictions import read_prediction_files
from chartscan.notes import Notes
from chartscan.store.dataset import Dataset
from chartscan.task_files import TaskFiles, task_files


@dataclass(frozen=True)
class Given:
    """Predictions of one task: their file or folder of shards, and what the user wrote to name them."""

    path: Path
    file: Path
    predictions: PredictionSet

    @property
    def artifact(self) -> str | None:
        """SHA-256 of the manifest of the artifact that predicted, where the predictions say it."""
        return (self.predictions.run or {}).get("artifact")

    @property
    def dataset(self) -> str | None:
        """Fingerprint of the dataset predicted on, where the predictions say it."""
        return (self.predictions.run or {}).get("dataset")


def read_given(paths: Sequence[Path], notes: Notes | None = None) -> list[Given]:
    """Every task of `paths`, in order.

    DataError for a path without any, ConfigError for a file given twice.
    """
    found = [
        Given(path, one.place, read_prediction_files(one, notes)) for path in paths for one in _tasks(path)
    ]
    places = [one.file.resolve() for one in found]
    twice = [one.file for k, one in enumerate(found) if places[k] in places[:k]]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice. A model cannot be compared with itself.")
    return found


def _tasks(path: Path) -> list[TaskFiles]:
    found = task_files(path)
    if not found:
        what = "no predictions in this folder" if path.is_dir() else "no such file or folder of predictions"
        raise DataError(f"{path}: {what}. Make some: chartscan predict RUN DATASET LABELS OUT")
    return found


def check_artifact(given: Sequence[Given], model: Path) -> None:
    """ConfigError where `given` say that another artifact than `model` made them."""
    expected = files.sha256(model / files.MANIFEST)
    for one in given:
        if one.artifact not in (None, expected):
            raise ConfigError(
                f"--model {model} did not make {one.file} (by '{one.predictions.model}'). Name the trained "
                "model that chartscan predict was given for it, or leave --model out."
            )


def check_dataset(given: Sequence[Given], dataset: Dataset) -> None:
    """ConfigError where `given` say that they were made on another dataset."""
    for one in given:
        if one.dataset not in (None, dataset.fingerprint):
            raise ConfigError(
                f"--data {dataset.path} is not the dataset that {one.file} was predicted on. Name that one, "
                "or predict again on this one."
            )


def told_apart(given: Sequence[Given]) -> list[PredictionSet]:
    """The predictions, in which different models of one name have names that differ.

    The first keeps its name; a later one is also called as its folder or file: `ehrmamba (frozen)`. All
    files of one trained model keep one name. ConfigError where one model answers a task twice.
    """
    models: list[_Model] = []
    for one in given:
        same = next((m for m in models if m.made(one)), None)
        if same is None:
            models.append(_Model([one]))
        else:
            same.add(one)
    named: list[tuple[str, _Model]] = []
    for model in models:
        named.append((_free_name(model, named), model))
    names = {id(one): name for name, model in named for one in model.given}
    return [msgspec.structs.replace(one.predictions, model=names[id(one)]) for one in given]


@dataclass(frozen=True)
class _Model:
    """The files of one trained model, as far as can be told."""

    given: list[Given]

    @property
    def name(self) -> str:
        return self.given[0].predictions.model

    @property
    def tasks(self) -> set[str]:
        return {one.predictions.task for one in self.given}

    def made(self, one: Given) -> bool:
        """Whether `one` is of this model: by its artifact, or else by name and the place it was read from."""
        first = self.given[0]
        if one.predictions.model != self.name or one.artifact != first.artifact:
            return False
        return one.artifact is not None or (one.path == first.path and one.predictions.task not in self.tasks)

    def add(self, one: Given) -> None:
        """Takes `one` in."""
        for other in self.given:
            if other.predictions.task == one.predictions.task:
                raise ConfigError(
                    f"{other.file} and {one.file} both hold predictions of {one.predictions.task} by the "
                    "same trained model. Give one of them."
                )
        self.given.append(one)

    def words(self) -> Iterator[str]:
        """What may tell this model from others of its name, the most readable first."""
        first = self.given[0]
        if first.path.is_dir():
            yield first.path.resolve().name
        yield from (first.file.stem, first.file.resolve().parent.name)
        yield f"{first.file.resolve().parent.name}/{first.file.stem}"


def _free_name(model: _Model, others: Sequence[tuple[str, _Model]]) -> str:
    """The model's own name, or with a word about where it was read from if that name is taken."""
    taken = {name for name, other in others if other.tasks & model.tasks}
    if model.name not in taken:
        return model.name
    theirs = {word for _, other in others if other.name == model.name for word in other.words()}
    words = [w for w in model.words() if w not in theirs | model.tasks | {model.name}]
    candidates = [f"{model.name} ({word})" for word in words]
    candidates += [f"{model.name} ({k})" for k in range(2, len(others) + 3)]
    return next(name for name in candidates if name not in taken)
