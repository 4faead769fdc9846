"""Folders of the tabular models, on counts of tokens and on summaries of time series: one file a task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chartscan.artifact.description import BINS, VARIABLES, VOCABULARY, Description, require, same
from chartscan.artifact.families import SummaryArtifact, TabularArtifact
from chartscan.artifact.networks import load_bins, load_variables
from chartscan.find import find
from chartscan.inputs.tokens import Vocabulary


def save_tabular(staging: Path, artifact: TabularArtifact) -> Description:
    """Writes models, vocabulary and bins."""
    _save_models(staging, artifact.models)
    artifact.vocabulary.save(staging / VOCABULARY)
    artifact.bins.save(staging / BINS)
    hash_ = artifact.vocabulary.hash
    return Description(family="tabular", name=artifact.name, tasks=artifact.tasks, vocabulary=hash_)


def load_tabular(folder: Path, names: list[str], about: Description, **common: Any) -> TabularArtifact:
    """What `save_tabular` wrote; `common` are the fields of every family."""
    require(folder, names, VOCABULARY, BINS)
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    same(folder / VOCABULARY, vocabulary.hash, about.vocabulary, "vocabulary")
    bins = load_bins(folder, vocabulary)
    models = _load_models(folder, names, about)
    return TabularArtifact(models=models, vocabulary=vocabulary, bins=bins, **common)


def save_summary(staging: Path, artifact: SummaryArtifact) -> Description:
    """Writes models and variables."""
    _save_models(staging, artifact.models)
    artifact.variables.save(staging / VARIABLES)
    hash_ = artifact.variables.hash
    return Description(family="summary", name=artifact.name, tasks=artifact.tasks, variables=hash_)


def load_summary(folder: Path, names: list[str], about: Description, **common: Any) -> SummaryArtifact:
    """What `save_summary` wrote; `common` are the fields of every family."""
    require(folder, names, VARIABLES)
    variables = load_variables(folder, about)
    return SummaryArtifact(models=_load_models(folder, names, about), variables=variables, **common)


def _save_models(staging: Path, models: Mapping[str, Any]) -> None:
    for place, model in enumerate(models.values()):
        model.save(staging / _file(place))


def _load_models(folder: Path, names: list[str], about: Description) -> dict[str, Any]:
    paths = [_file(place) for place in range(len(about.tasks))]
    require(folder, names, *paths)
    module = find("tabular", about.name)
    return {task: module.load(folder / path) for task, path in zip(about.tasks, paths, strict=True)}


def _file(place: int) -> str:
    return f"tabular-{place}.json"
