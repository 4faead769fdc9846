"""A trained model as one folder: weights, vocabulary or variables, calibration and the run that made them.

    model.json            family, name and settings of the model, its tasks in order
    weights.safetensors   of a network and its heads; of a tabular model tabular-<i>.json, one a task
    vocabulary.json  numeric.json   of what reads tokens; variables.json of what reads time series
    pace.json             of a sequence model that forecasts: types and times of what it generates
    member-<i>/  blend.json         of an ensemble: its members, each a whole artifact, and their weights
    calibration.json  run.json  manifest.json (SHA-256 of every other file)

The folder appears whole or not at all, is never overwritten, and every byte is checked before it is used.
Nothing in it can run code. Each model and head is found by name; this package knows nothing else of them.
"""

from chartscan.artifact.families import (
    Artifact,
    Calibration,
    EnsembleArtifact,
    SequenceArtifact,
    SeriesArtifact,
    SummaryArtifact,
    TabularArtifact,
)
from chartscan.artifact.folder import load, save
from chartscan.artifact.pretraining import pretraining_head

__all__ = [
    "Artifact",
    "Calibration",
    "EnsembleArtifact",
    "SequenceArtifact",
    "SeriesArtifact",
    "SummaryArtifact",
    "TabularArtifact",
    "load",
    "pretraining_head",
    "save",
]
