"""BigBird per token as rows grow, beside full attention: `python lab/benchmarks/bigbird.py [OUT.json]`.

The same 4,096 tokens as rows of 1,024 and as one row, forward and as a training step with masked events. One
layer of the paper's size with its embedding and head: further layers repeat the layer. Full attention is
CEHR-BERT's with BigBird's heads and context, without dropout: the same network otherwise. Medians of
rounds in turn, of processor time on one thread, which other load disturbs least, with freed memory kept as
`chartscan train` keeps it; about a minute on a quiet processor.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from chartscan.console import Display
from chartscan.models import bigbird, cehr_bert, ehrmamba
from chartscan.objectives.masked_event import MaskedEvent
from chartscan_lab.bench.machine import described, observed
from chartscan_lab.bench.models import random_batch
from chartscan_lab.bench.progress import Counter
from chartscan_lab.bench.timing import Plan, clock, compared, in_turn

TOKENS, LENGTHS, VOCAB_SIZE, FIRST_EVENT, MASK = 4096, (1024, 4096), 5000, 25, 2
THREADS, PLAN = 1, Plan(rounds=3, seconds=60)
SETTINGS = {"n_layers": 1, "n_heads": 12, "context": TOKENS, "dropout": 0.0}


def main(out: Path | None) -> None:
    display, watch = Display(), clock(THREADS)
    with (
        observed(THREADS, keep_memory=True) as conditions,
        display.progress("BigBird", "measurements") as progress,
    ):
        results = {}
        for what, pick in (("inference", inference), ("training", training)):
            calls = all_calls(pick)
            first = {name: watch.seconds(call) for name, call in calls.items()}
            counter = Counter(len(calls) * PLAN.rounds, progress)
            times = in_turn(calls, first, watch, PLAN, counter, what)
            results[what] = compared(times, None)
    found = {"conditions": conditions, "clock": watch.name, "tokens": TOKENS, "results": results}
    display.say(f"{described(conditions)}\n{table(results)}")
    if out is not None:
        out.write_text(json.dumps(found, indent=1))


def all_calls(pick: Callable[[nn.Module, int], Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """By network and length; all lengths of a network share its weights."""
    models = {
        "BigBird": bigbird.Model(bigbird.Config(**SETTINGS), VOCAB_SIZE),
        "full attention": cehr_bert.Model(cehr_bert.Config(**SETTINGS), VOCAB_SIZE),
    }
    return {f"{name}, {length}": pick(model, length) for name, model in models.items() for length in LENGTHS}


def inference(model: nn.Module, length: int) -> Callable[[], object]:
    batch = random_batch(TOKENS // length, length, VOCAB_SIZE, ehrmamba.Config())

    @torch.no_grad()
    def call() -> object:
        return model(batch)

    return call


def training(model: nn.Module, length: int) -> Callable[[], object]:
    """Loss of masked events and its gradient; the update costs the same at every length."""
    batch = random_batch(TOKENS // length, length, VOCAB_SIZE, ehrmamba.Config())
    objective = MaskedEvent(768, torch.arange(VOCAB_SIZE) >= FIRST_EVENT, MASK)

    def call() -> object:
        model.zero_grad()
        loss, count, _ = objective.loss(model, batch)
        return (loss / count).backward()

    return call


def table(results: dict[str, dict[str, Any]]) -> str:
    """Microseconds a token, and how many times those of the shorter rows."""
    lines = [f"{'':12}{'':18}" + "".join(f"{f'L {n}':>10}" for n in LENGTHS) + f"{'ratio':>8}"]
    for what, rows in results.items():
        for name in ("BigBird", "full attention"):
            seconds = [rows[f"{name}, {length}"]["seconds"] for length in LENGTHS]
            cells = "".join(f"{1e6 * s / TOKENS:10.1f}" for s in seconds)
            lines.append(f"{what:12}{name:18}{cells}{seconds[-1] / seconds[0]:8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
