"""Saving and loading whole artifacts: what all families have in common, and which family is read how."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from chartscan import files
from chartscan.artifact.description import CALIBRATION, MODEL, RUN, Description, read, read_run, require
from chartscan.artifact.ensemble import check_ensemble, load_ensemble, save_ensemble
from chartscan.artifact.families import (
    Artifact,
    Calibration,
    EnsembleArtifact,
    SequenceArtifact,
    SeriesArtifact,
    SummaryArtifact,
)
from chartscan.artifact.networks import load_sequence, load_series, save_sequence, save_series
from chartscan.artifact.tables import load_summary, load_tabular, save_summary, save_tabular
from chartscan.errors import ConfigError, DataError

MOST_DEPTH = 4  # of ensembles in one another


def save(folder: Path, artifact: Artifact) -> None:
    """Publishes `artifact` as `folder`; ConfigError where that exists or the parts do not belong together."""
    _check(artifact)
    with files.sealed(folder) as staging:
        about = _save_family(staging, artifact)
        files.write_json(staging / MODEL, msgspec.to_builtins(about))
        files.write_json(staging / CALIBRATION, msgspec.to_builtins(dict(artifact.calibration)))
        files.write_json(staging / RUN, dict(artifact.run))


def load(folder: Path, device: str = "cpu", depth: int = 0) -> Artifact:
    """The artifact in `folder`, in evaluation mode; networks on `device`, and what else there is on the CPU.

    Nothing in it is trusted: a manifest that fits its files says that they are whole, not who wrote them.
    `depth` is how many ensembles it is a member of, one in the other.

    Raises DataError naming the file that is missing, damaged or does not fit the others, and ConfigError for
    a model that this version does not know.
    """
    if folder.exists() and not (folder / MODEL).is_file():
        raise DataError(f"{folder} is not a trained model: it has no {MODEL}. Train one: chartscan train")
    if depth > MOST_DEPTH:
        raise DataError(f"{folder}: ensembles within ensembles, more than {MOST_DEPTH} deep.")
    names = files.verify(folder)
    require(folder, names, MODEL, CALIBRATION, RUN)
    about = read(folder / MODEL, Description)
    common = {
        "name": about.name,
        "calibration": read(folder / CALIBRATION, dict[str, Calibration]),
        "run": read_run(folder / RUN),
    }
    artifact = _load_family(
        folder, names, about, common, partial(load, device=device, depth=depth + 1), device
    )
    try:
        _check(artifact)
    except ConfigError as err:
        raise DataError(f"{folder}: its files do not belong together. {err}") from err
    return artifact


def _save_family(staging: Path, artifact: Artifact) -> Description:
    if isinstance(artifact, SequenceArtifact):
        return save_sequence(staging, artifact)
    if isinstance(artifact, SeriesArtifact):
        return save_series(staging, artifact)
    if isinstance(artifact, SummaryArtifact):
        return save_summary(staging, artifact)
    if isinstance(artifact, EnsembleArtifact):
        return save_ensemble(staging, artifact, save)
    return save_tabular(staging, artifact)


def _load_family(
    folder: Path,
    names: list[str],
    about: Description,
    common: dict[str, Any],
    load_member: Callable[[Path], Artifact],
    device: str,
) -> Artifact:
    match about.family:
        case "sequence":
            return load_sequence(folder, names, about, device, **common)
        case "series":
            return load_series(folder, names, about, device, **common)
        case "tabular":
            return load_tabular(folder, names, about, **common)
        case "summary":
            return load_summary(folder, names, about, **common)
        case "ensemble":
            return load_ensemble(folder, names, about, load_member, **common)


def _check(artifact: Artifact) -> None:
    strangers = sorted(set(artifact.calibration) - set(artifact.tasks))
    if strangers:
        raise ConfigError(
            f"There is a calibration of {', '.join(strangers)}, which the model has not learned."
        )
    if isinstance(artifact, SequenceArtifact):
        for task in artifact.tasks:
            artifact.vocabulary.task_token(task)
        if artifact.head is not None and artifact.probe is not None:
            raise ConfigError("A model answers by a head or by a probe, not by both.")
    if isinstance(artifact, SeriesArtifact) and (artifact.head is None) != (artifact.head_config is None):
        raise ConfigError("A head of a series model needs its head_config, and a head_config its head.")
    if isinstance(artifact, EnsembleArtifact):
        check_ensemble(artifact)
