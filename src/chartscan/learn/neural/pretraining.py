"""What a sequence model learns before it is asked: its objective, and the model with the head of that.

Which objective a model has is the model's own to say (`PRETRAINING` of its file in models/).
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import torch
from torch import nn

from chartscan.artifact import SequenceArtifact, pretraining_head
from chartscan.batch import Pretraining
from chartscan.errors import ConfigError
from chartscan.find import find
from chartscan.inputs.tokens import SequenceConfig, Vocabulary
from chartscan.learn.neural.start import copy_weights


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
