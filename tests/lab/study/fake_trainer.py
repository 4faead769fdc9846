"""A study's surroundings without any model: subjects, labels, and a trainer whose answers are drawn."""

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from chartscan.schema import EVENTS, LABELS, PREDICTIONS, check
from chartscan_lab.bench.machine import observed
from chartscan_lab.bench.paper_ratios import beside_the_paper

GIB = 2**30
ZERO = datetime(2012, 1, 1)
SPLITS = {"train": range(100, 160), "tuning": range(160, 180), "held_out": range(180, 240)}


class FakeRecipe(msgspec.Struct, frozen=True):
    """As much as a study needs to know; a network is pretrained, and `family` says whose body it has."""

    name: str
    seed: int = 0
    skill: float = 1.0
    family: str = ""


class FakeDataset:
    """Subjects in three splits, each with an admission."""

    fingerprint = "f" * 64

    def subject_ids(self, split=None):
        parts = [SPLITS[split]] if split else list(SPLITS.values())
        return np.concatenate([np.array(part, np.int64) for part in parts])

    def shards(self):
        return [Path("0")]

    def read_shard(self, path):
        rows = [
            {
                "subject_id": int(subject),
                "time": time,
                "available_time": time,
                "event_type": kind,
                "code": kind,
            }
            for subject in self.subject_ids()
            for kind, time in (
                ("static", None),
                ("birth", ZERO - timedelta(days=9999)),
                ("vital", ZERO - timedelta(hours=1)),
                ("admission", ZERO),
                ("outcome", ZERO + timedelta(days=1000)),
            )
        ]
        return check(pa.Table.from_pylist(rows), EVENTS, "events")


class Quiet:
    """A watcher that remembers what it was told."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)

    def note(self, note):
        self.said.append(str(note))

    @contextmanager
    def progress(self, title, unit):
        yield lambda done, total, words="": None


@dataclass
class FakeTrainer:
    """Counts what it does; stops in the middle of training number `stop_at`; `unlearned` are tasks."""

    stop_at: int | None = None
    unlearned: tuple = ()
    trained: list = field(default_factory=list)
    resumed: list = field(default_factory=list)
    starts: list = field(default_factory=list)
    asked: int = 0
    measured: list = field(default_factory=list)

    def resolve(self, recipe, settings):
        values = dict(setting.split("=") for setting in settings)
        skill = float(values.get("skill", 1.0))
        return FakeRecipe(recipe, int(values["seed"]), skill, values.get("family", ""))

    def body_of(self, recipe):
        return FakeRecipe(f"{recipe.family} body", recipe.seed) if recipe.family else None

    def train(self, training, out, resume, start):
        work = out.with_name(out.name + ".work")
        assert work.exists() == resume
        work.mkdir(exist_ok=True)
        if self.stop_at == len(self.trained):
            raise KeyboardInterrupt
        assert start is None or start.exists()
        self.resumed.append(resume)
        self.starts.append(start)
        self.trained.append(training)
        out.mkdir()
        (out / "recipe.json").write_bytes(msgspec.json.encode(training.recipe))
        work.rmdir()

    def ask(self, artifact, labels):
        self.asked += 1
        recipe = msgspec.json.decode((artifact / "recipe.json").read_bytes(), type=FakeRecipe)
        return {
            task: _answers(recipe, k, table)
            for k, (task, table) in enumerate(labels.items())
            if task not in self.unlearned
        }

    def measure(self, recipes, settings):
        self.measured.append((recipes, settings))
        return bench_result([*recipes], settings)

    def run_record(self, artifact):
        recipe = json.loads((artifact / "recipe.json").read_bytes())
        phase = "pretraining" if recipe["name"].endswith("body") else "fine-tuning"
        return {
            "parameters": 1000,
            "seconds_per_epoch": {phase: 2.0 + recipe["seed"]},
            "tokens_per_epoch": {phase: 1000.0},
            "threads": 1,
        }


def bench_result(names, settings):
    """What the bench gives, in round numbers: a recipe takes twice the time and memory of the one before."""
    phases = []
    for phase, prompts in (("pretraining", 0), ("fine-tuning", 40)):
        rows = [
            {
                "name": name, "precision": "fp32", "context": 64, "rows": 10, "positions": 500, "updates": 4,
                "prompts": prompts, "prompts_per_row": prompts / 10, "peaks": {4: GIB, 8: 2 * GIB},
                "not_measured": {}, "parameters": 1234, "padded_seconds": 20.0,
                "padded_tokens_per_second": 32.0, "fixed_bytes": 0.5 * GIB, "bytes_a_row": 2.0**20,
                "error": None, "seconds": 2.0**n, "range": [0.5, 9.0], "rounds": 2, "ratio": 2.0**n,
                "tokens_per_second": 500 / 2.0**n, "padded_ratio": 1.0,
                "largest": [
                    {"gib": gib, "largest": 64 // 2**n, "least": None, "most": None, "extrapolated": True}
                    for gib in settings.memory_gib
                ],
            }
            for n, name in enumerate(names)
        ]  # fmt: skip
        ratios = beside_the_paper(phase, names[0], rows)
        phases.append({"phase": phase, "baseline": names[0], "rows": rows, "beside_the_paper": ratios})
    asked = {"patients": 20, "prompts": 50, "instants": 30, "tasks": 2}
    with observed(settings.threads) as conditions:
        return {
            "conditions": conditions,
            "clock": "processor time",
            "patients": asked,
            "phases": phases,
        }


def _answers(recipe, task, labels):
    random = np.random.default_rng([recipe.seed, len(recipe.name), task])
    y = labels["boolean_value"].to_numpy(zero_copy_only=False)
    logits = recipe.skill * (2.0 * y - 1) + random.normal(0, 1.5, len(y))
    probability = pa.array((1 / (1 + np.exp(-logits))).astype(np.float32))
    return check(
        labels.append_column("predicted_boolean_probability", probability), PREDICTIONS, "predictions"
    )


def labels_of(subjects, hours=48.0, seed=0):
    """LABELS of the subjects, a third of them positive."""
    random = np.random.default_rng(seed)
    n = len(subjects)
    return pa.table(
        [
            pa.array(np.array(subjects, np.int64)),
            pa.array([ZERO + timedelta(hours=hours)] * n, LABELS.field("prediction_time").type),
            pa.array(random.random(n) < 1 / 3),
        ],
        schema=LABELS,
    )
