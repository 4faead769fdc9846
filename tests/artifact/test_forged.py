"""Forged artifacts, sealed again by whoever changed them: each is refused, quickly, in little memory."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from chartscan.artifact import Artifact, Network, TabularModels, pretraining_head, save
from chartscan.artifact.learned import KEPT
from chartscan.find import find
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.readers.tokens import encode, token_features
from chartscan.objectives import prompted
from chartscan.objectives.prompted import Prompted
from chartscan.tabular import logistic
from family_artifacts import (
    BINS,
    CALIBRATION,
    RUN,
    SERIES,
    TASKS,
    TOKENS,
    ensemble,
    series_artifact,
    summary_artifact,
    tabular_artifact,
    token_labels,
    token_records,
)
from forge import forge

SECONDS = 10
START_SECONDS = 120
SUPPORT = Path(__file__).parent.parent / "support"
SMALL = {"d_model": 8, "n_layers": 1, "time_dim": 4}
NETWORKS = {
    "ehrmamba": {"d_state": 4},
    "ehrmamba2": {"d_state": 4, "d_head": 4},
    "bigbird": {"n_heads": 2, "d_ffn": 8, "context": 64, "block": 4},
    "cehr_bert": {"n_heads": 2, "d_ffn": 8, "context": 64},
    "bilstm": {},
}


READER = TokenReader(TOKENS.vocabulary, BINS)


def sequence(name: str) -> Artifact[TokenReader]:
    """A small network on tokens, with every head that it can have."""
    torch.manual_seed(0)
    module, size = find("models", name), len(TOKENS.vocabulary)
    config = module.Config(**SMALL, **NETWORKS[name])
    model = module.Model(config, size).eval()
    heads = {"head": Prompted(model.width, len(TASKS)).eval()}
    objective = module.Model.PRETRAINING
    if objective:
        heads[KEPT[objective]] = pretraining_head(objective, model.width, READER)
    network = Network(name, config, model, heads, prompted.Config())
    return Artifact(READER, network, TASKS)


def regression() -> Artifact[TokenReader]:
    """A regression on counts of tokens."""
    encoded, births = encode(TOKENS, [token_records()])
    matrix = token_features(encoded, births, token_labels(), TOKENS.vocabulary).matrix
    models = {task: logistic.fit(matrix, np.arange(12) % (2 + i) == 0) for i, task in enumerate(TASKS)}
    return Artifact(READER, TabularModels("logistic", models), TASKS, CALIBRATION, RUN)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> list[tuple[str, Path]]:
    """An artifact of every family, with what it reads."""
    root = tmp_path_factory.mktemp("sound")
    made = {f"tokens {name}": sequence(name) for name in NETWORKS}
    made |= {"tokens trees": tabular_artifact(), "tokens regression": regression()}
    made |= {f"series {name}": series_artifact(name) for name in SERIES}
    made |= {f"series {name}": summary_artifact(name) for name in ("xgboost", "logistic")}
    made["series ensemble"] = ensemble(series_artifact("gru"), summary_artifact("xgboost"))
    for name, artifact in made.items():
        save(root / name, artifact)
    return [(name.split()[0], root / name) for name in made]


class Reader:
    """A process that reads forged folders one by one, started again where one ended it."""

    def __init__(self, sound: list[tuple[str, Path]]) -> None:
        self.sound = [f"{kind} {folder}" for kind, folder in sound]
        self.process: subprocess.Popen[str] | None = None

    def read(self, kind: str, folder: Path) -> dict[str, object]:
        if self.process is None:
            path = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(Path(__file__).with_name("forge.py")), *self.sound],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )
            for line in self.sound:
                assert self._line(START_SECONDS) == {"ready": {"answered": True}}, line
        self.process.stdin.write(f"{kind} {folder}\n")
        self.process.stdin.flush()
        return self._line(SECONDS)

    def _line(self, seconds: float) -> dict[str, object]:
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        why = {"ended": self.process.wait()} if ready else {"slow": seconds}
        self.stop()
        return why

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def reader(sound):
    found = Reader(sound)
    yield found
    found.stop()


def refuse(count: int, sound, reader, tmp_path) -> None:
    """Forges until `count` were refused: none may end the reader, take long, or fail in another way."""
    refused = harmless = seed = 0
    wrong = []
    while refused < count:
        kind, saved = sound[seed % len(sound)]
        done = forge(saved, tmp_path / str(seed), np.random.default_rng(seed))
        said = reader.read(kind, tmp_path / str(seed))
        refused += said.get("code") in (2, 5)
        harmless += "answered" in said
        if said.get("code") not in (2, 5) and "answered" not in said:
            wrong.append((seed, saved.name, done, said))
            refused += 1
        seed += 1
    print(f"{count} forged artifacts refused; {harmless} changes did no harm")
    assert not wrong, f"{len(wrong)} of {count}: {wrong[:8]}"
    assert harmless < seed / 3


def test_a_forged_artifact_is_refused_quickly_and_in_little_memory(sound, reader, tmp_path):
    refuse(25, sound, reader, tmp_path)


@pytest.mark.soak
def test_three_hundred_forged_artifacts_are_refused(sound, reader, tmp_path):
    refuse(300, sound, reader, tmp_path)
