"""Folders of ensembles: the members, each an artifact in a folder of its own, and how they are blended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chartscan import files
from chartscan.artifact.description import BLEND, Description, read, require
from chartscan.artifact.families import Artifact, EnsembleArtifact
from chartscan.errors import ConfigError, DataError


class Blend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What blend.json says of one task."""

    weights: tuple[float, ...]  # in the order of the members
    intercept: float

    def __post_init__(self) -> None:
        if max(map(abs, (*self.weights, self.intercept))) > 1e6:
            raise ValueError("a weight or an intercept beyond a million")


def save_ensemble(
    staging: Path, artifact: EnsembleArtifact, save: Callable[[Path, Artifact], None]
) -> Description:
    """Writes the blend, and with `save` the members."""
    for place, member in enumerate(artifact.members):
        save(staging / member_folder(place), member)
    blend = {
        task: Blend(tuple(np.asarray(weights, np.float64).tolist()), float(artifact.intercept.get(task, 0.0)))
        for task, weights in artifact.weights.items()
    }
    files.write_json(staging / BLEND, msgspec.to_builtins(blend))
    members = len(artifact.members)
    return Description(family="ensemble", name=artifact.name, tasks=artifact.tasks, members=members)


def load_ensemble(
    folder: Path, names: list[str], about: Description, load: Callable[[Path], Artifact], **common: Any
) -> EnsembleArtifact:
    """What `save_ensemble` wrote, the members read by `load`; `common` are the fields of every family."""
    places = [member_folder(place) for place in range(about.members)]
    require(folder, names, BLEND, *(f"{place}/{files.MANIFEST}" for place in places))
    blend = read(folder / BLEND, dict[str, Blend])
    if set(blend) != set(about.tasks) or any(len(b.weights) != about.members for b in blend.values()):
        raise DataError(
            f"{folder / BLEND} does not have a weight of each of the {about.members} members for every task."
        )
    return EnsembleArtifact(
        members=tuple(load(folder / place) for place in places),
        weights={task: np.array(blend[task].weights) for task in about.tasks},
        intercept={task: blend[task].intercept for task in about.tasks},
        **common,
    )


def check_ensemble(artifact: EnsembleArtifact) -> None:
    """ConfigError unless every task has a finite weight of each member, learned by those that count."""
    if not artifact.members:
        raise ConfigError("An ensemble needs at least one member.")
    for task, weights in artifact.weights.items():
        if np.shape(weights) != (len(artifact.members),):
            raise ConfigError(
                f"The ensemble's weights for {task}: expected {len(artifact.members)}, one for each member, "
                f"found shape {np.shape(weights)}."
            )
        if not np.isfinite([*weights, artifact.intercept.get(task, 0.0)]).all():
            raise ConfigError(f"The ensemble's weights for {task} are not all finite.")
        unlearned = [i for i in np.flatnonzero(weights) if task not in artifact.members[i].tasks]
        if unlearned:
            raise ConfigError(f"Member {unlearned[0]} of the ensemble has not learned {task}.")


def member_folder(place: int) -> str:
    """Name of a member's folder."""
    return f"member-{place}"
