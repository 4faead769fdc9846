"""A trained model as one folder: weights, vocabulary, bins, calibration and the run that made them.

    model.json            family, name and settings of the model, its tasks in order
    weights.safetensors   of a sequence model and its heads; of a tabular one tabular-<i>.json, one a task
    vocabulary.json  numeric.json  calibration.json  run.json  manifest.json (SHA-256 of every other file)

The folder appears whole or not at all, is never overwritten, and every byte is checked before it is used.
Nothing in it can run code. Each model and head is found by name; this module knows nothing else of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from chartscan import files
from chartscan.errors import ChartscanError, ConfigError, DataError
from chartscan.find import find
from chartscan.sequences import NumericBins, Vocabulary

WEIGHTS, VOCABULARY, BINS = "weights.safetensors", "vocabulary.json", "numeric.json"
MODEL, CALIBRATION, RUN = "model.json", "calibration.json", "run.json"
Head = Literal["head", "forecast"]
HEADS: dict[Head, str] = {"head": "prompted", "forecast": "next_event"}  # part -> the objective that owns it

T = TypeVar("T")


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one task's answers are read: calibrated log odds = intercept + slope * the model's log odds.

    All of it comes from `rows` tuning samples; the default is the raw answer and a threshold of one half.
    """

    intercept: float = 0.0
    slope: float = 1.0
    threshold: float = 0.5  # of the calibrated probability: at or above it the decision is yes
    rows: int = 0

    def probability(self, log_odds: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of the model's log odds."""
        return np.exp(-np.logaddexp(0.0, -(self.intercept + self.slope * np.asarray(log_odds, np.float64))))


@dataclass(frozen=True)
class SequenceArtifact:
    """A sequence model with what it needs to read records and to answer."""

    name: str  # of the file in models/
    config: msgspec.Struct  # that file's Config
    model: nn.Module
    vocabulary: Vocabulary  # with the settings of the token representation
    bins: NumericBins
    tasks: tuple[str, ...] = ()  # in the order of the head's task indices
    head: nn.Module | None = None  # objectives.prompted.Prompted: answers to task tokens
    forecast: nn.Module | None = None  # objectives.next_event.NextEvent: which token comes next
    calibration: Mapping[str, Calibration] = field(default_factory=dict)  # by task
    run: Mapping[str, Any] = field(default_factory=dict)  # seed, versions, data: whatever JSON can hold

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules there are, by the prefix of their weights."""
        every = {"model": self.model, "head": self.head, "forecast": self.forecast}
        return {name: module for name, module in every.items() if module is not None}


@dataclass(frozen=True)
class TabularArtifact:
    """One tabular model a task, on counts of the vocabulary's tokens."""

    name: str  # of the file in tabular/
    models: Mapping[str, Any]  # by task
    vocabulary: Vocabulary
    bins: NumericBins
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of `models`."""
        return tuple(self.models)


Artifact = SequenceArtifact | TabularArtifact


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """model.json."""

    format: Literal[1] = 1
    family: Literal["sequence", "tabular"]
    name: str
    config: dict[str, Any] = {}
    tasks: tuple[str, ...]
    heads: tuple[Head, ...] = ()
    vocabulary: str  # hash of the vocabulary the weights were trained with


def save(folder: Path, artifact: Artifact) -> None:
    """Publishes `artifact` as `folder`; ConfigError where that exists or the parts do not belong together."""
    _check(artifact)
    with files.sealed(folder) as staging:
        if isinstance(artifact, SequenceArtifact):
            save_file(_weights(artifact.parts), staging / WEIGHTS)
        else:
            for place, model in enumerate(artifact.models.values()):
                model.save(staging / _tabular_file(place))
        artifact.vocabulary.save(staging / VOCABULARY)
        artifact.bins.save(staging / BINS)
        files.write_json(staging / MODEL, msgspec.to_builtins(_description(artifact)))
        files.write_json(staging / CALIBRATION, msgspec.to_builtins(dict(artifact.calibration)))
        files.write_json(staging / RUN, dict(artifact.run))


def load(folder: Path) -> Artifact:
    """The artifact in `folder`, on the CPU and in evaluation mode.

    Raises DataError naming the file that is missing, damaged or does not fit the others, and ConfigError for
    a model that this version does not know.
    """
    if folder.exists() and not (folder / MODEL).is_file():
        raise DataError(f"{folder} is not a trained model: it has no {MODEL}. Train one: chartscan train")
    names = files.verify(folder)
    _require(folder, names, MODEL, VOCABULARY, BINS, CALIBRATION, RUN)
    about = _read(folder / MODEL, _Description)
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    if vocabulary.hash != about.vocabulary:
        raise DataError(f"{folder / VOCABULARY} is not the vocabulary that {MODEL} was trained with.")
    bins = NumericBins.load(folder / BINS)
    calibration = _read(folder / CALIBRATION, dict[str, Calibration])
    run = _read(folder / RUN, dict[str, Any])
    if about.family == "tabular":
        models = _tabular_models(folder, names, about)
        return TabularArtifact(about.name, models, vocabulary, bins, calibration, run)
    _require(folder, names, WEIGHTS)
    config, parts = _modules(folder, about, len(vocabulary))
    return SequenceArtifact(
        name=about.name,
        config=config,
        model=parts["model"],
        vocabulary=vocabulary,
        bins=bins,
        tasks=about.tasks,
        head=parts.get("head"),
        forecast=parts.get("forecast"),
        calibration=calibration,
        run=run,
    )


def _check(artifact: Artifact) -> None:
    strangers = sorted(set(artifact.calibration) - set(artifact.tasks))
    if strangers:
        raise ConfigError(
            f"There is a calibration of {', '.join(strangers)}, which the model has not learned."
        )
    if isinstance(artifact, SequenceArtifact):
        for task in artifact.tasks:
            artifact.vocabulary.task_token(task)


def _description(artifact: Artifact) -> _Description:
    hash_, name, tasks = artifact.vocabulary.hash, artifact.name, artifact.tasks
    if isinstance(artifact, TabularArtifact):
        return _Description(family="tabular", name=name, tasks=tasks, vocabulary=hash_)
    heads = tuple(part for part in HEADS if part in artifact.parts)
    config = msgspec.to_builtins(artifact.config)
    return _Description(
        family="sequence", name=name, config=config, tasks=tasks, heads=heads, vocabulary=hash_
    )


def _modules(
    folder: Path, about: _Description, vocab_size: int
) -> tuple[msgspec.Struct, dict[str, nn.Module]]:
    """The model's settings, and model and heads with their weights."""
    module = find("models", about.name)
    try:
        config = msgspec.convert(about.config, module.Config)
    except (msgspec.ValidationError, ChartscanError) as err:
        raise DataError(f"{folder / MODEL}: not settings of the model '{about.name}': {err}.") from err
    with torch.random.fork_rng(devices=[]):  # the first weights are overwritten, whatever they are
        model = module.Model(config, vocab_size)
        heads: dict[str, nn.Module] = {
            part: _head(part, model.width, vocab_size, len(about.tasks)) for part in about.heads
        }
    parts: dict[str, nn.Module] = {"model": model, **heads}
    _fill(parts, folder / WEIGHTS)
    return config, {name: part.eval() for name, part in parts.items()}


def _head(part: Head, width: int, vocab_size: int, n_tasks: int) -> nn.Module:
    objective = find("objectives", HEADS[part])
    return objective.Prompted(width, n_tasks) if part == "head" else objective.NextEvent(width, vocab_size)


def _tabular_models(folder: Path, names: list[str], about: _Description) -> dict[str, Any]:
    paths = [_tabular_file(place) for place in range(len(about.tasks))]
    _require(folder, names, *paths)
    module = find("tabular", about.name)
    return {task: module.load(folder / path) for task, path in zip(about.tasks, paths, strict=True)}


def _weights(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Tensors named <part>.<name>, on the CPU; what two parts share is written twice."""
    return {
        f"{part}.{name}": tensor.detach().cpu().clone().contiguous()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }


def _fill(parts: Mapping[str, nn.Module], path: Path) -> None:
    """Puts the weights of `path` into `parts`; DataError unless names, shapes and types are theirs."""
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as err:
        raise DataError(f"{path} is not a file of weights.") from err
    wanted = {f"{p}.{n}": t for p, module in parts.items() for n, t in module.state_dict().items()}
    kinds, wanted_kinds = ({n: (t.shape, t.dtype) for n, t in side.items()} for side in (found, wanted))
    wrong = sorted({name for name, _ in kinds.items() ^ wanted_kinds.items()})
    if wrong:
        raise DataError(
            f"{path} does not fit {MODEL} and {VOCABULARY}: {len(wrong)} tensors are missing, unexpected "
            f"or of another shape or type, the first is {wrong[0]}."
        )
    for part, module in parts.items():
        start = len(part) + 1
        module.load_state_dict({n[start:]: t for n, t in found.items() if n.startswith(f"{part}.")})


def _require(folder: Path, names: list[str], *wanted: str) -> None:
    for name in wanted:
        if name not in names:
            raise DataError(f"{folder / name} is missing from {files.MANIFEST}: not a complete artifact.")


def _read(path: Path, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as err:
        raise DataError(f"{path} does not hold what this version of chartscan writes: {err}.") from err


def _tabular_file(place: int) -> str:
    return f"tabular-{place}.json"
