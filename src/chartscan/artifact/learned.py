"""What was learned: a network with its heads, or tabular models.

Both predict from what a reader has read. This is the second of the two axes: neither knows its reader. Each
model, head and objective is found by name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from chartscan.artifact.description import MODEL, WEIGHTS, Description, Head, settings
from chartscan.artifact.weights import load_modules, save_weights
from chartscan.batch import Batch, Pretraining, SeriesBatch
from chartscan.errors import ConfigError, DataError
from chartscan.find import find, name_of, names
from chartscan.inputs.readers import Asked, HourlyReader, Reader, Records
from chartscan.inputs.tokens import Vocabulary
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.specials import MASK

Progress = Callable[[int, int | None], None]
KEPT: dict[Pretraining, Head] = {"next_event": "forecast", "masked_event": "masked"}  # heads of pretraining


@dataclass(frozen=True)
class Network:
    """A network with its heads.

    `heads` may contain `head`, which predicts the tasks; `probe`, which predicts in its place from the
    states of the pretrained network; `forecast` and `masked`, which pretraining leaves.
    """

    LEARNER: ClassVar[str] = "network"

    name: str  # of the file in models/
    config: msgspec.Struct  # that file's Config
    model: Any  # batch.SequenceModel or batch.SeriesModel, a module
    heads: Mapping[str, nn.Module] = field(default_factory=dict)
    head_config: msgspec.Struct | None = None  # Config of the head's objective

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules, by the prefix of their weights."""
        return {"model": self.model, **self.heads}

    @property
    def answering(self) -> Any:
        """What answers the tasks: `predict(model, batch)`; None where the network has learned none."""
        return self.heads.get("head") or self.heads.get("probe")

    @property
    def objective(self) -> str:
        """The file in objectives/ that the head is of; empty where there is no head."""
        return "" if self.head_config is None else name_of("objectives", self.head_config)

    @property
    def title(self) -> str:
        """The name for reports, with the objective if it is not the model's own."""
        other = self.objective not in ("", self.model.HEAD)
        return f"{self.name} ({self.objective})" if other else self.name

    def log_odds(
        self, records: Records, tasks: Sequence[str], labels: Mapping[str, pa.Table], progress: Progress
    ) -> dict[str, np.ndarray]:
        """Raw log odds of every label, by task; `tasks` in the head's order."""
        asked = records.asked(self.model, tasks, labels)
        found = answers_of(self.model, self.answering, asked, progress)
        return {task: found[asked.samples.tasks == list(tasks).index(task)] for task in labels}

    def cut(self, records: Records, labels: pa.Table) -> int | None:
        """Number of labels whose history is longer than what the network reads."""
        return int(np.sum(records.cut(self.model, labels)))

    def check(self, reader: Reader) -> None:
        """ConfigError where the parts do not go together."""
        if "head" in self.heads and "probe" in self.heads:
            raise ConfigError("A model has a head or a probe, not both.")
        if ("head" in self.heads) == (self.head_config is None):
            raise ConfigError("A head needs its head_config, and a head_config its head.")
        if self.model.INPUT not in reader.INPUTS:
            raise ConfigError(f"{self.name} reads {self.model.INPUT}, which are not of the {reader.NAME}.")

    def save(self, staging: Path) -> dict[str, Any]:
        """Writes the weights; gives the fields of the description."""
        save_weights(self.parts, staging / WEIGHTS)
        return {
            "config": msgspec.to_builtins(self.config),
            "heads": tuple(self.heads),
            "head_config": {} if self.head_config is None else msgspec.to_builtins(self.head_config),
            "objective": self.objective,
        }

    @classmethod
    def files(cls, about: Description) -> tuple[str, ...]:
        """Files of which each is there."""
        return (WEIGHTS,)

    @classmethod
    def load(cls, folder: Path, about: Description, reader: Reader, device: str) -> "Network":
        """What `save` wrote, on `device`; DataError where it does not fit the reader."""
        module = _known("models", about.name, folder)
        if module.Model.INPUT not in reader.INPUTS:
            raise DataError(f"{folder / MODEL}: {about.name} does not read what its {reader.NAME} give.")
        config = settings(folder, about.config, module.Config, f"model '{about.name}'")
        try:
            reader.check_model(config)
        except ConfigError as err:
            raise DataError(f"{folder / MODEL}: {err}") from err
        head_config, objective = None, None
        if "head" in about.heads:
            objective = _known("objectives", about.objective or module.Model.HEAD, folder)
            if not hasattr(objective, "make"):
                raise DataError(f"{folder / MODEL}: '{about.objective}' is no objective of a head.")
            head_config = settings(folder, about.head_config, objective.Config, "head")
        n_tasks = len(about.tasks)

        def make() -> dict[str, nn.Module]:
            model = module.Model(config, *reader.sizes)
            heads: dict[str, Callable[[], nn.Module]] = {
                "head": lambda: _head(objective, model, n_tasks, head_config, folder),
                "probe": lambda: find("objectives", "probe").Probe(model.width, n_tasks),
                "forecast": lambda: pretraining_head("next_event", model.width, reader),
                "masked": lambda: pretraining_head("masked_event", model.width, reader),
            }
            return {"model": model, **{name: heads[name]() for name in about.heads}}

        parts = load_modules(make, folder / WEIGHTS, reader.files()[0], device)
        heads: dict[str, nn.Module] = {name: parts[name] for name in about.heads}
        return cls(about.name, config, parts["model"], heads, head_config)


@torch.no_grad()
def answers_of(model: Any, head: Any, asked: Asked, progress: Progress | None = None) -> np.ndarray:
    """Log odds of the samples (S,) float64, computed where the weights are."""
    device = next(model.parameters()).device
    found = np.zeros(asked.shape)
    batches: Iterable[tuple[np.ndarray, Batch | SeriesBatch]] = asked.in_order()
    for number, (places, batch) in enumerate(batches):
        answers: Tensor = head.predict(model, batch.to(device))
        found[places] = answers.double().cpu().numpy()
        if progress:
            progress(number + 1, len(asked.passes))
    return asked.of_samples(found)


@dataclass(frozen=True)
class TabularModels:
    """One tabular model a task, on the matrix that a reader gives."""

    LEARNER: ClassVar[str] = "tabular"

    name: str  # of the file in tabular/
    models: Mapping[str, Any]  # by task

    @property
    def title(self) -> str:
        """The name for reports."""
        return self.name

    def log_odds(
        self, records: Records, tasks: Sequence[str], labels: Mapping[str, pa.Table], progress: Progress
    ) -> dict[str, np.ndarray]:
        """Log odds of every label, by task."""
        found = {}
        for number, (task, table) in enumerate(labels.items()):
            found[task] = logit(self.models[task].predict_proba(records.matrix(table)))
            progress(number + 1, len(labels))
        return found

    def cut(self, records: Records, labels: pa.Table) -> int | None:
        """None: the whole history is seen."""
        return None

    def check(self, reader: Reader) -> None:
        """Tabular models go with any reader."""

    def save(self, staging: Path) -> dict[str, Any]:
        """Writes a file a task; gives the fields of the description."""
        for place, model in enumerate(self.models.values()):
            model.save(staging / _file(place))
        return {}

    @classmethod
    def files(cls, about: Description) -> tuple[str, ...]:
        """Files of which each is there."""
        return tuple(_file(place) for place in range(len(about.tasks)))

    @classmethod
    def load(cls, folder: Path, about: Description, reader: Reader, device: str) -> "TabularModels":
        """What `save` wrote."""
        module = _known("tabular", about.name, folder)
        paths = zip(about.tasks, cls.files(about), strict=True)
        return cls(about.name, {task: module.load(folder / path) for task, path in paths})


Learned = Network | TabularModels
LEARNERS: dict[str, type[Network] | type[TabularModels]] = {
    one.LEARNER: one for one in (Network, TabularModels)
}


def _known(package: str, name: str, folder: Path) -> Any:
    """The module that an artifact names; ConfigError that says how to make it known where it is not."""
    if name not in names(package):
        kind, option = ("objective", "--objective") if package == "objectives" else ("model", "--model")
        raise ConfigError(
            f"{folder}: {kind} '{name}' is not known here. Name its file with {option}, or install the "
            "package it is from."
        )
    return find(package, name)


def _head(objective: Any, model: Any, n_tasks: int, config: Any, folder: Path) -> nn.Module:
    """A new head; DataError where the objective that the folder names does not go with its model."""
    try:
        head: nn.Module = objective.make(model, n_tasks, config)
    except AttributeError as err:
        raise DataError(f"{folder / MODEL}: the head's objective does not fit the model.") from err
    return head


def pretraining_head(
    objective: Pretraining, width: int, reader: Reader, next_visit_weight: float = 1.0
) -> nn.Module:
    """A new head of `objective` for representations of `width` and what `reader` reads.

    `next_visit_weight` is that of saying when the next visit comes and what begins it, beside 1 for any
    other next event; it matters to training only. DataError where events are to be masked and the vocabulary
    has none.
    """
    make = {"next_event": _next_event, "masked_event": _masked_event, "masked_forecast": _masked_forecast}
    return make[objective](width, reader, next_visit_weight)


def logit(probability: np.ndarray) -> np.ndarray:
    """Log odds, finite: probabilities are kept 1e-7 away from 0 and 1."""
    p = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def _next_event(width: int, reader: Any, next_visit_weight: float) -> nn.Module:
    """By type of the token that something is said from: [REG] is followed by the interval to the next visit,
    [VS] by what begins it."""
    shares = None
    if next_visit_weight != 1:
        shares = torch.ones(T.N_TYPES)
        shares[[T.REG, T.VS]] = next_visit_weight
    head: nn.Module = find("objectives", "next_event").NextEvent(width, *reader.sizes, shares=shares)
    return head


def _masked_event(width: int, reader: Any, next_visit_weight: float) -> nn.Module:
    vocabulary: Vocabulary = reader.vocabulary
    events = sorted(vocabulary.codes.values())
    if not events:
        raise DataError(
            "The vocabulary has no event that could be masked. Train on more subjects, or lower "
            "reader.min_subjects."
        )
    maskable = torch.zeros(len(vocabulary), dtype=torch.bool, device="cpu")
    maskable[events] = True
    head: nn.Module = find("objectives", "masked_event").MaskedEvent(width, maskable, MASK)
    return head


def _masked_forecast(width: int, reader: HourlyReader, next_visit_weight: float) -> nn.Module:
    head: nn.Module = find("objectives", "masked_forecast").MaskedForecast(
        width, reader.variables.n_variables
    )
    return head


def _file(place: int) -> str:
    return f"tabular-{place}.json"
