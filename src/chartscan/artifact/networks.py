"""Folders of the networks: sequence models on tokens and models of time series."""

from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from chartscan.artifact.description import (
    BINS,
    MODEL,
    PACE,
    VARIABLES,
    VOCABULARY,
    WEIGHTS,
    Description,
    Head,
    require,
    same,
    settings,
)
from chartscan.artifact.families import SequenceArtifact, SeriesArtifact
from chartscan.artifact.pretraining import pretraining_head
from chartscan.artifact.weights import load_modules, save_weights
from chartscan.errors import DataError
from chartscan.find import find
from chartscan.inputs.hourly import Variables
from chartscan.inputs.tokens import NumericBins, Pace, Vocabulary
from chartscan.inputs.tokens import types as T

HEADS: tuple[Head, ...] = ("head", "probe", "forecast", "masked")


def save_sequence(staging: Path, artifact: SequenceArtifact) -> Description:
    """Writes weights, vocabulary and bins."""
    save_weights(artifact.parts, staging / WEIGHTS)
    artifact.vocabulary.save(staging / VOCABULARY)
    artifact.bins.save(staging / BINS)
    if artifact.pace:
        artifact.pace.save(staging / PACE)
    return Description(
        family="sequence",
        name=artifact.name,
        config=msgspec.to_builtins(artifact.config),
        tasks=artifact.tasks,
        heads=tuple(part for part in HEADS if part in artifact.parts),
        vocabulary=artifact.vocabulary.hash,
    )


def load_sequence(
    folder: Path, names: list[str], about: Description, device: str, **common: Any
) -> SequenceArtifact:
    """What `save_sequence` wrote; `common` are the fields of every family."""
    require(folder, names, VOCABULARY, BINS)
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    same(folder / VOCABULARY, vocabulary.hash, about.vocabulary, "vocabulary")
    bins = load_bins(folder, vocabulary)
    require(folder, names, WEIGHTS)
    module = find("models", about.name)
    config = settings(folder, about.config, module.Config, f"model '{about.name}'")
    if module.Model.INPUT != "tokens" or config.n_types < T.N_TYPES or config.task_type != T.TASK:
        raise DataError(f"{folder / MODEL}: not settings of a model that reads tokens of {T.N_TYPES} types.")

    def make() -> dict[str, nn.Module]:
        model = module.Model(config, len(vocabulary))
        heads = {
            "head": lambda: find("objectives", "prompted").Prompted(model.width, len(about.tasks)),
            "probe": lambda: find("objectives", "probe").Probe(model.width, len(about.tasks)),
            "forecast": lambda: pretraining_head("next_event", model.width, vocabulary),
            "masked": lambda: pretraining_head("masked_event", model.width, vocabulary),
        }
        return {"model": model, **{part: heads[part]() for part in about.heads}}

    parts = load_modules(make, folder / WEIGHTS, VOCABULARY, device)
    return SequenceArtifact(
        config=config,
        model=parts["model"],
        vocabulary=vocabulary,
        bins=bins,
        tasks=about.tasks,
        head=parts.get("head"),
        probe=parts.get("probe"),
        forecast=parts.get("forecast"),
        masked=parts.get("masked"),
        pace=Pace.load(folder / PACE, len(vocabulary)) if PACE in names else None,
        **common,
    )


def save_series(staging: Path, artifact: SeriesArtifact) -> Description:
    """Writes weights and variables."""
    save_weights(artifact.parts, staging / WEIGHTS)
    artifact.variables.save(staging / VARIABLES)
    return Description(
        family="series",
        name=artifact.name,
        config=msgspec.to_builtins(artifact.config),
        tasks=artifact.tasks,
        heads=tuple(part for part in HEADS if part in artifact.parts),
        head_config={} if artifact.head_config is None else msgspec.to_builtins(artifact.head_config),
        variables=artifact.variables.hash,
    )


def load_series(
    folder: Path, names: list[str], about: Description, device: str, **common: Any
) -> SeriesArtifact:
    """What `save_series` wrote; `common` are the fields of every family."""
    require(folder, names, VARIABLES, WEIGHTS)
    variables = load_variables(folder, about)
    module = find("models", about.name)
    if module.Model.INPUT == "tokens":
        raise DataError(f"{folder / MODEL}: {about.name} is not a model of time series.")
    objective = find("objectives", module.Model.HEAD)
    config = settings(folder, about.config, module.Config, f"model '{about.name}'")
    head_config = None
    if "head" in about.heads:
        head_config = settings(folder, about.head_config, objective.Config, "head")

    def make() -> dict[str, nn.Module]:
        model = module.Model(config, variables.n_variables, variables.n_statics)
        if head_config is None:
            return {"model": model}
        return {"model": model, "head": objective.make(model, len(about.tasks), head_config)}

    parts = load_modules(make, folder / WEIGHTS, VARIABLES, device)
    return SeriesArtifact(
        config=config,
        model=parts["model"],
        variables=variables,
        tasks=about.tasks,
        head=parts.get("head"),
        head_config=head_config,
        **common,
    )


def load_bins(folder: Path, vocabulary: Vocabulary) -> NumericBins:
    """The bins of `folder`; DataError unless they are as many as the vocabulary was made with."""
    bins = NumericBins.load(folder / BINS)
    if bins.n_bins != vocabulary.config.n_bins:
        raise DataError(f"{folder / BINS} does not fit {VOCABULARY}: {bins.n_bins} bins of each number.")
    return bins


def load_variables(folder: Path, about: Description) -> Variables:
    """The variables of `folder`; DataError unless they are those of model.json."""
    variables = Variables.load(folder / VARIABLES)
    same(folder / VARIABLES, variables.hash, about.variables, "file of variables")
    return variables
