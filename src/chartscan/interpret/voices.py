"""Who answers each task of an artifact, where it can be explained: one network, or several of tokens."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from chartscan.artifact import Artifact, EnsembleArtifact, SequenceArtifact, SeriesArtifact
from chartscan.errors import ConfigError


class Voices(NamedTuple):
    """Who answers a task: the log odds are the members', raw, times the weights."""

    members: tuple[Artifact, ...]
    weights: tuple[float, ...]


def voices(model: Artifact, path: Path) -> dict[str, Voices]:
    """What answers each task: the artifact itself, or of an ensemble the members with a weight."""
    found = {task: Voices((model,), (1.0,)) for task in model.tasks}
    if isinstance(model, EnsembleArtifact):
        found = {task: _weighed(model, weights) for task, weights in model.weights.items()}
    for task, own in found.items():
        if not _explainable(own.members):
            raise ConfigError(
                f"{path} has no networks for {task} that can be explained together. Explain a model of "
                "tokens or of time series, an ensemble of token models with one vocabulary, or one member."
            )
    return found


def _weighed(model: EnsembleArtifact, weights: Iterable[float]) -> Voices:
    pairs = [(one, float(weight)) for one, weight in zip(model.members, weights, strict=True) if weight]
    return Voices(tuple(one for one, _ in pairs), tuple(weight for _, weight in pairs))


def _explainable(members: Sequence[Artifact]) -> bool:
    """A single network, or several that read the same tokens and answer the same tasks."""
    first = members[0] if members else None
    if len(members) == 1:
        return isinstance(first, SequenceArtifact | SeriesArtifact)
    return isinstance(first, SequenceArtifact) and all(
        isinstance(one, SequenceArtifact)
        and (one.vocabulary, one.bins, one.tasks) == (first.vocabulary, first.bins, first.tasks)
        for one in members
    )
