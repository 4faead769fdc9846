"""What a network begins with: new weights, or those of a trained artifact."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
import torch
from torch import nn

from chartscan import artifact
from chartscan.artifact import Artifact, Network, pretraining_head
from chartscan.batch import Pretraining
from chartscan.errors import ConfigError
from chartscan.find import find
from chartscan.inputs.readers import Reader, ReaderConfig
from chartscan.runs.job import Job
from chartscan.runs.seen import births_of, seen
from chartscan.schema import HELD_OUT, TRAIN, TUNING

Settings = TypeVar("Settings", bound=msgspec.Struct)


class Start(Protocol):
    """As much of a recipe as matters here."""

    @property
    def start_from(self) -> str | None: ...

    @property
    def architecture(self) -> str: ...

    @property
    def model(self) -> msgspec.Struct: ...

    @property
    def reader(self) -> ReaderConfig: ...


@dataclass(frozen=True)
class Body:
    """A model before fine-tuning, and the head of its pretraining where it has one."""

    model: Any  # batch.SequenceModel or batch.SeriesModel
    head: nn.Module | None


def starting_point(recipe: Start, job: Job) -> Artifact[Reader] | None:
    """The artifact that `start_from` names; ConfigError where it is of another kind or size.

    Also where it reads records otherwise, or was trained on this run's tuning or held_out subjects.
    """
    if recipe.start_from is None:
        return None
    found = artifact.load(Path(recipe.start_from))
    if not found.network:
        raise ConfigError(
            f"start_from: {recipe.start_from} is no single network. Start from one that was pretrained only "
            "(--set finetune=null) or answers all its tasks itself."
        )
    (single,) = found.singles()
    network: Network = single.network
    if network.name != recipe.architecture:
        raise ConfigError(
            f"start_from: {recipe.start_from} is a {network.name}, not a {recipe.architecture}."
        )
    if network.config != for_any_machine(recipe.model):
        raise ConfigError(
            f"start_from: {recipe.start_from} has other model settings. Set them to {network.config}."
        )
    if other := _other_settings(single.reader.config, recipe.reader):
        raise ConfigError(
            f"start_from: {recipe.start_from} reads records with other settings. Set {', '.join(other)}."
        )
    if single.run.get("recipe", {}).get("refit"):
        raise ConfigError(
            f"start_from: {recipe.start_from} was refitted on its tuning subjects, which this run would tune "
            "on. Start from one that was trained with refit=false."
        )
    kept = np.concatenate([job.subjects(split) for split in (TUNING, HELD_OUT)])
    data = single.run["data"]
    splits = {split: len(job.subjects(split)) for split in (TRAIN, TUNING)}
    divided = data.get("divided") or data.get("subjects", splits) != splits  # such as a member of folds
    elsewhere = job.division or divided or data["fingerprint"] != job.dataset.fingerprint
    if elsewhere and (n := seen(single.run, kept, births_of(job.dataset, kept))):
        raise ConfigError(
            f"start_from: {recipe.start_from} was trained on {n} subjects of this dataset's tuning and "
            "held_out splits. Split this dataset as that one was, or pretrain again."
        )
    return single


def for_any_machine(model: Settings) -> Settings:
    """The settings that define a model, without those of the machine."""
    return msgspec.structs.replace(model, backend="auto") if hasattr(model, "backend") else model


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy weights of `source` into `target`; extra rows (new tokens) keep theirs."""
    given = source.state_dict()
    for name, tensor in target.state_dict().items():
        tensor[: len(given[name])] = given[name]


def pretraining_of(architecture: str) -> Pretraining | None:
    """How models of a file in models/ are pretrained; None: not at all."""
    found: Pretraining | None = find("models", architecture).Model.PRETRAINING
    return found


def new_body(
    architecture: str,
    config: msgspec.Struct,
    reader: Reader,
    start: Artifact[Reader] | None,
    seed: int,
    with_head: bool,
    next_visit_weight: float = 1.0,
) -> Body:
    """The model and its pretraining head, new from the seed or with given weights."""
    torch.manual_seed(seed)
    model = find("models", architecture).Model(config, *reader.sizes)
    objective = pretraining_of(architecture)
    head = None
    if objective and with_head:
        head = pretraining_head(objective, model.width, reader, next_visit_weight)
    if start:
        copy_weights(start.network.model, model)
        given = start.network.heads.get("forecast") or start.network.heads.get("masked")
        if head and given:
            copy_weights(given, head)
    return Body(model, head)


def _other_settings(theirs: ReaderConfig, ours: ReaderConfig) -> list[str]:
    """What would have to be set for records to be read as the start reads them."""
    found, wanted = msgspec.to_builtins(ours), msgspec.to_builtins(theirs)
    differing = [name for name in wanted if wanted[name] != found.get(name)]
    return [f"reader.{name}={msgspec.json.encode(wanted[name]).decode()}" for name in differing]
