"""What a network begins with: a new body, a pretrained one, or a trained artifact."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
import torch
from torch import nn

from chartscan import artifact
from chartscan.artifact import SequenceArtifact, pretraining_head
from chartscan.batch import Pretraining
from chartscan.errors import ConfigError
from chartscan.find import find
from chartscan.inputs.tokens import SequenceConfig, Vocabulary
from chartscan.runs.job import Job
from chartscan.runs.seen import births_of, seen
from chartscan.schema import HELD_OUT, TUNING

# Beginning with the weights and the vocabulary of a trained artifact.

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


# What a sequence model learns before it is asked: its objective, and the model with the head of that.
# Which objective a model has is the model's own to say (`PRETRAINING` of its file in models/).


@dataclass(frozen=True)
class Body:
    """A model before fine-tuning, and the head of its objective where it has one."""

    model: Any  # batch.SequenceModel
    head: nn.Module | None


def objective_of(architecture: str) -> Pretraining | None:
    """How models of a file in models/ are pretrained; None: not at all."""
    found: Pretraining | None = find("models", architecture).Model.PRETRAINING
    return found


def check_model(architecture: str, model: msgspec.Struct, sequence: SequenceConfig, pretrained: bool) -> None:
    """ConfigError where rows outgrow the model's positions, or it is to be pretrained and cannot be."""
    context = getattr(model, "context", None)
    if context is not None and sequence.context > context:
        raise ConfigError(
            f"sequence.context is {sequence.context} and model.context {context}: a row and its task token "
            f"would not fit. Expected sequence.context of at most {context}."
        )
    if pretrained and objective_of(architecture) is None:
        raise ConfigError(f"pretrain: '{architecture}' has no pretraining. Expected pretrain=null.")


def new_body(
    architecture: str,
    config: msgspec.Struct,
    vocabulary: Vocabulary,
    start: SequenceArtifact | None,
    seed: int,
    next_visit_weight: float = 1.0,
) -> Body:
    """Model and head with the weights of the starting point, or drawn from the seed."""
    torch.manual_seed(seed)
    model = find("models", architecture).Model(config, len(vocabulary))
    objective = objective_of(architecture)
    head = None
    if objective:
        head = pretraining_head(objective, model.width, vocabulary, next_visit_weight)
    if start:
        copy_weights(start.model, model)
        given = start.forecast or start.masked
        if head and given:
            copy_weights(given, head)
    return Body(model, head)
