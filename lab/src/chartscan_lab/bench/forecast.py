"""`chartscan bench forecast`: events more after a short and after a long history, state in hand.

Histories of every length are measured in turn, with reading them and without. The model is random, since no
time depends on its weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch

from chartscan.artifact import Artifact, Network
from chartscan.generate import History, Plan, causal, go_on, history_of, read
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import (
    Encoded,
    FitScope,
    NumericBins,
    SequenceConfig,
    Timeline,
    Vocabulary,
    encoded_from,
    fit_pace,
)
from chartscan.inputs.tokens import specials as S
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.encoded import HOUR_US
from chartscan.inputs.tokens.timeline import Attributes
from chartscan.models.ehrmamba import Model
from chartscan.objectives.next_event import NextEvent
from chartscan_lab.bench import timing
from chartscan_lab.bench.machine import described, observed
from chartscan_lab.bench.models import config_of
from chartscan_lab.bench.progress import Counter, ProgressFunction, silent
from chartscan_lab.tables import TIMED, text_table, timed_cells

GOAL = 1.2  # most time after the longest history, as a multiple of that after the shortest
WORKS = ("events", "reading and events")
SEED = 0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bench forecast` measures: `events` more of `rows` histories of each length."""

    histories: tuple[int, ...] = (100, 8000)
    events: int = 100
    rows: int = 1
    samples: int = 8  # futures of each history
    vocabulary: int = 5000
    width: int = 128
    layers: int = 2
    threads: int = 1
    rounds: int = 9

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        numbers = (self.events, self.rows, self.samples, self.width, self.layers, self.threads, self.rounds)
        if min(*numbers, *self.histories) < 1 or self.vocabulary <= len(S.SPECIALS):
            raise ValueError(f"all must be at least 1, and the vocabulary above {len(S.SPECIALS)}")

    def run(self, progress: ProgressFunction = silent) -> dict[str, Any]:
        return run(self, progress)

    def table(self, found: dict[str, Any]) -> str:
        return table(found)


class Subject(NamedTuple):
    """A record of one long stay."""

    encoded: Encoded
    timeline: Timeline


def subject(length: int, vocabulary: int, seed: int) -> Subject:
    """A random record of `length` tokens: [CLS] [VS], then a result every hour."""
    codes = np.random.default_rng(seed).integers(len(S.SPECIALS), vocabulary, max(length - 2, 1)).tolist()
    attributes = Attributes(SequenceConfig(), birth=-40 * 365 * 24 * HOUR_US)
    instants = [hour * HOUR_US for hour in range(len(codes))]
    moments = [attributes.moment(instant, instant) for instant in instants]
    lab = T.TYPE_OF_EVENT["lab"]
    tokens = [attributes.structural(S.CLS, T.CLS, moments[0], 0), attributes.visit_start(moments[0])]
    tokens += [attributes.event(code, lab, at) for code, at in zip(codes, moments, strict=True)]
    return Subject(encoded_from(tokens), Timeline(attributes.birth, 0, np.array(instants)))


def artifact(settings: Settings) -> Artifact[TokenReader]:
    """A random EHRMamba with a vocabulary of results."""
    torch.manual_seed(SEED)
    config, size = config_of(settings.width, settings.layers), settings.vocabulary
    names = (*S.SPECIALS, *(f"LAB//{i}" for i in range(size - len(S.SPECIALS))))
    known = subject(2 * size, size, SEED).encoded
    vocabulary = Vocabulary(names, (0,) * size, {}, SequenceConfig(), FitScope())
    heads = {"forecast": NextEvent(settings.width, size).eval()}
    return Artifact(
        reader=TokenReader(vocabulary, NumericBins(5, {}), fit_pace([known], size)),
        learned=Network("ehrmamba", config, Model(config, size).eval(), heads),
    )


def histories(model: Artifact[TokenReader], settings: Settings, length: int) -> list[History]:
    """`rows` records of `length` tokens, each seen whole."""
    found = []
    for number in range(settings.rows):
        one = subject(length, settings.vocabulary, number)
        found.append(history_of(model, number, one.encoded, one.timeline, 0, context=length))
    return found


def works(model: Artifact[TokenReader], settings: Settings, length: int) -> dict[str, Callable[[], object]]:
    """The work after histories of one length: events alone, and with reading the histories."""
    plan = Plan(samples=settings.samples, tokens=settings.events, until_death=False)
    known = histories(model, settings, length)
    hidden, state = read(causal(model), known)

    def events() -> object:
        return list(go_on(model, known, hidden, state, plan))

    def reading_too() -> object:
        return list(go_on(model, known, *read(causal(model), known), plan))

    return dict(zip(WORKS, (events, reading_too), strict=True))


def run(settings: Settings, progress: ProgressFunction = silent) -> dict[str, Any]:
    model = artifact(settings)
    watch, plan = timing.clock(settings.threads), timing.Plan(settings.rounds, seconds=1e9)
    counter = Counter(len(WORKS) * len(settings.histories) * settings.rounds, progress)
    found = []
    with observed(settings.threads) as conditions:
        calls = {n: works(model, settings, n) for n in settings.histories}
        for work in WORKS:
            these = {str(n): calls[n][work] for n in settings.histories}
            first = {name: watch.seconds(call) for name, call in these.items()}
            times = timing.in_turn(these, first, watch, plan, counter, work)
            rows = timing.compared(times, str(settings.histories[0]))
            found.append({"work": work, "rows": [{"history": int(name)} | row for name, row in rows.items()]})
    return {"bench": "forecast", "conditions": conditions, "clock": watch.name, "works": found}


def table(found: dict[str, Any]) -> str:
    """The result as lines to print."""
    lines = [
        described(found["conditions"]),
        f"Median {found['clock']}; x: times that after the shortest history (goal for events: {GOAL}).",
    ]
    for work in found["works"]:
        rows = [[str(row["history"]), *timed_cells(row | {"error": None}, 1)[:-1]] for row in work["rows"]]
        lines += ["", work["work"], *text_table(("history", *TIMED[:-1]), rows)]
    return "\n".join(lines)
