"""Beginning with the weights and the vocabulary of a trained artifact."""

from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import numpy as np
import torch
from torch import nn

from chartscan import artifact
from chartscan.errors import ConfigError
from chartscan.inputs.tokens import SequenceConfig
from chartscan.runs.job import Job
from chartscan.runs.seen import births_of, seen
from chartscan.schema import HELD_OUT, TUNING

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
    def sequence(self) -> SequenceConfig: ...


def starting_point(recipe: Start, job: Job) -> artifact.SequenceArtifact | None:
    """The artifact that `start_from` names; ConfigError where it is of another kind or size.

    Also where it reads records otherwise, or has learned from subjects that this run would tune or be judged
    on.
    """
    if recipe.start_from is None:
        return None
    found = artifact.load(Path(recipe.start_from))
    if not isinstance(found, artifact.SequenceArtifact):
        raise ConfigError(
            f"start_from: {recipe.start_from} is no single sequence model. Start from one that was "
            "pretrained only (--set finetune=null) or answers all its tasks itself."
        )
    if found.name != recipe.architecture:
        raise ConfigError(f"start_from: {recipe.start_from} is a {found.name}, not a {recipe.architecture}.")
    if found.config != for_any_machine(recipe.model):
        raise ConfigError(
            f"start_from: {recipe.start_from} has other model settings. Set them to {found.config}."
        )
    if other := _other_settings(found.vocabulary.config, recipe.sequence):
        raise ConfigError(
            f"start_from: {recipe.start_from} reads records with other settings. Set {', '.join(other)}."
        )
    kept = np.concatenate([job.subjects(split) for split in (TUNING, HELD_OUT)])
    elsewhere = job.division or found.run["data"]["fingerprint"] != job.dataset.fingerprint
    if elsewhere and (n := seen(found.run, kept, births_of(job.dataset, kept))):
        raise ConfigError(
            f"start_from: {recipe.start_from} has learned from {n} subjects of this dataset's tuning and "
            "held_out splits. Split this dataset as that one was, or pretrain anew."
        )
    return found


def _other_settings(theirs: SequenceConfig, ours: SequenceConfig) -> list[str]:
    """What would have to be set for records to be read as the start reads them."""
    found, wanted = msgspec.to_builtins(ours), msgspec.to_builtins(theirs)
    differing = [name for name in wanted if wanted[name] != found[name]]
    return [f"sequence.{name}={msgspec.json.encode(wanted[name]).decode()}" for name in differing]


def for_any_machine(model: Settings) -> Settings:
    """The settings that decide what a model is; how its scan was computed is the machine's business."""
    return msgspec.structs.replace(model, backend="auto") if hasattr(model, "backend") else model


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Weights of `source` into `target`, which may have more rows (new tokens), kept as they were drawn."""
    given = source.state_dict()
    for name, tensor in target.state_dict().items():
        tensor[: len(given[name])] = given[name]
