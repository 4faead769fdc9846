"""A trained model as one folder: reader, learned part, calibration and run record.

    model.json            reader and learner, name and settings of the model, its tasks in order
    weights.safetensors   of a network and its heads; of tabular models tabular-<i>.json, one a task
    vocabulary.json  numeric.json   of what reads tokens; variables.json of what reads time series
    pace.json             of a token model that forecasts: types and times of what it generates
    member-<i>/  blend.json         of an ensemble: its members, each a whole artifact, and their weights
    calibration.json  run.json  manifest.json (SHA-256 of every other file)

The folder appears whole or not at all, is never overwritten, and every byte is checked before it is used.
Nothing in it can run code.
"""

from chartscan.artifact.folder import AnyArtifact, Artifact, Calibration, Ensemble, load, load_run, save
from chartscan.artifact.learned import Network, TabularModels, answers_of, logit, pretraining_head

__all__ = [
    "AnyArtifact",
    "Artifact",
    "Calibration",
    "Ensemble",
    "Network",
    "TabularModels",
    "answers_of",
    "load",
    "load_run",
    "logit",
    "pretraining_head",
    "save",
]
