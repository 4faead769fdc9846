"""Tiny artifacts of every family on the hand-written records of tests, with weights that chance chose."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import torch

from chartscan.artifact import Artifact, Calibration, Ensemble, Network, TabularModels
from chartscan.find import find
from chartscan.inputs.batches.series import SeriesStore, collate_series
from chartscan.inputs.hourly import CHANNELS, SeriesConfig, Variables, stays
from chartscan.inputs.readers import HourlyReader, TokenReader
from chartscan.inputs.readers.hourly import summary_features
from chartscan.inputs.readers.tokens import encode, token_features
from chartscan.inputs.tokens import fit_bins
from chartscan.models import ehrmamba, gru, hymate, hymate_carried
from chartscan.objectives import classification, prompted, readouts
from chartscan.objectives.prompted import Prompted
from chartscan.schema import LABELS
from chartscan.tabular import logistic, xgboost
from series_events import admission, event, static, table, training_rows
from token_events import START, encoder, population

TASKS = ("a", "b")
CALIBRATION = {"a": Calibration(intercept=-0.1, slope=1 / 3, threshold=0.4, rows=9)}
RUN = {"seed": 3, "data": {"name": "x"}}
CONFIGS = {
    "hymate": hymate.Config(d_model=8, n_layers=1, n_heads=2, d_state=4),
    "gru": gru.Config(d_model=8, channels=len(CHANNELS)),
    "hymate_carried": hymate_carried.Config(CHANNELS, d_model=8, n_heads=2, d_state=4),
}
SERIES = tuple(CONFIGS)
HEADS = {
    "classification": classification.Config(hidden=6, members=2),
    "readouts": readouts.Config(wide_hidden=5, hidden=6, members=2, sequence_hidden=4),
}
TREES = xgboost.Config(trees=12, min_child_weight=0.1)
SUBJECTS = 24


def records(seed: int = 0) -> pa.Table:
    """Stays of SUBJECTS subjects, the last one with an admission and nothing measured."""
    rows = training_rows(SUBJECTS - 1, seed)
    return table([*rows, admission(SUBJECTS), static(SUBJECTS, "GENDER//F")])


def variables(seed: int = 0) -> Variables:
    """Variables of those records; of other seeds others."""
    return Variables.fit([records(seed)], SeriesConfig(min_subjects=2))


def labels(hours: float = 24.0, every: int = 1) -> pa.Table:
    """A label of every subject, in an order that is not that of the records."""
    ids = np.arange(1, SUBJECTS + 1)[::-1][::every]
    return labelled(ids, event(1, hours, "")["time"])


def labelled(ids: np.ndarray, time) -> pa.Table:
    """LABELS of the subjects at `time`, answers by chance."""
    answers = np.random.default_rng(0).random(len(ids)) < 0.5
    answers[:2] = [True, False]
    columns = [pa.array(ids), pa.array([time] * len(ids), pa.timestamp("us")), pa.array(answers)]
    return pa.table(columns, schema=LABELS)


def series_artifact(name: str = "hymate", seed: int = 0, of: int = 0) -> Artifact[HourlyReader]:
    """A network on time series; `of` is the seed of the records its variables are from."""
    torch.manual_seed(seed)
    found = variables(of)
    model = find("models", name).Model(CONFIGS[name], found.n_variables, found.n_statics).eval()
    if hasattr(model, "fit_inputs"):
        fit_inputs(model, found)
    config = HEADS[model.HEAD]
    head = find("objectives", model.HEAD).make(model, len(TASKS), config).eval()
    network = Network(name, CONFIGS[name], model, {"head": head}, config)
    return Artifact(HourlyReader(found), network, TASKS, CALIBRATION, RUN)


def fit_inputs(model, variables: Variables) -> None:
    """Fits `model` to the records, with answers by chance."""
    answers = np.random.default_rng(0).integers(0, 2, (SUBJECTS, len(TASKS)))
    store = SeriesStore.build(stays([records()], variables, labels()), answers, variables)
    batch = collate_series(store, np.arange(SUBJECTS), "carried")
    model.fit_inputs(batch.carried[np.arange(SUBJECTS), batch.steps - 1], batch.labels)


def summary_artifact(name: str = "xgboost", of: int = 0) -> Artifact[HourlyReader]:
    """Trees or a regression on summaries."""
    module, config = {
        "xgboost": (xgboost, TREES),
        "logistic": (logistic, logistic.Config(scaling="rank", missing_flags=True)),
    }[name]
    found = variables(of)
    matrix = summary_features(stays([records()], found, labels()), found).matrix
    random = np.random.default_rng(1)
    y = {task: random.permutation(np.arange(SUBJECTS) % 2 == 0) for task in TASKS}
    models = {task: module.fit(matrix, y[task], config=config) for task in TASKS}
    return Artifact(HourlyReader(found), TabularModels(name, models), TASKS, CALIBRATION, RUN)


TOKENS = encoder(tasks=TASKS)
BINS = fit_bins([population()], TOKENS.config)


def token_labels() -> pa.Table:
    """A label of every subject of `token_events.population`."""
    return labelled(np.arange(1, 13), START + timedelta(days=20))


def token_records() -> pa.Table:
    """Records of codes that the vocabulary of tokens knows, and no variable of time series."""
    return population()


def sequence_artifact(seed: int = 0) -> Artifact[TokenReader]:
    """A sequence model on tokens."""
    torch.manual_seed(seed)
    config = ehrmamba.Config(d_model=8, n_layers=1, d_state=4, time_dim=4)
    model = ehrmamba.Model(config, len(TOKENS.vocabulary)).eval()
    head = Prompted(model.width, len(TASKS)).eval()
    network = Network("ehrmamba", config, model, {"head": head}, prompted.Config())
    return Artifact(TokenReader(TOKENS.vocabulary, BINS), network, TASKS, CALIBRATION, RUN)


def tabular_artifact() -> Artifact[TokenReader]:
    """Trees on counts of tokens."""
    encoded, births = encode(TOKENS, [token_records()])
    matrix = token_features(encoded, births, token_labels(), TOKENS.vocabulary).matrix
    y = {task: np.arange(12) % (2 + i) == 0 for i, task in enumerate(TASKS)}
    models = {task: xgboost.fit(matrix, y[task], config=TREES) for task in TASKS}
    reader = TokenReader(TOKENS.vocabulary, BINS)
    return Artifact(reader, TabularModels("xgboost", models), TASKS, CALIBRATION, RUN)


def ensemble(*members, seed: int = 0) -> Ensemble:
    """The members blended with weights and intercepts by chance."""
    random = np.random.default_rng(seed)
    weights = {task: random.random(len(members)) for task in TASKS}
    intercept = {task: float(random.normal()) for task in TASKS}
    return Ensemble("some", members, weights, intercept, CALIBRATION, RUN)
