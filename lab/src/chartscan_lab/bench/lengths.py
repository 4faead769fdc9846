"""What a training step costs as sequences grow: time and memory of EHRMamba, and their exponents.

Each figure comes from a fresh process with one sequence a step. Beside it, at the lengths it can bear, the
Mamba of Hugging Face (its default CPU path) with blocks of the same size. For orientation, not a claim about
other hardware.
"""

import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from chartscan.models.ehrmamba import Config, Model
from chartscan.objectives.next_event import NextEvent
from chartscan_lab.bench.hugging_face import causal_model
from chartscan_lab.bench.memory import in_fresh_process, peak_bytes
from chartscan_lab.bench.models import random_batch
from chartscan_lab.tables import MIB, ratio_text, text_table

LENGTHS = (512, 1024, 2048, 4096, 8192)
PEER_LENGTHS = (64, 128, 256)
VOCAB_SIZE = 4000
MODEL = Config(d_model=128, n_layers=4)

Step = Callable[[int], object]  # a training step on one sequence of that many tokens


def run(
    lengths: Sequence[int] = LENGTHS,
    peer_lengths: Sequence[int] = PEER_LENGTHS,
    threads: int = 1,
    repeats: int = 3,
    progress: Callable[[int, int | None], None] | None = None,
) -> dict[str, Any]:
    """Seconds, tokens a second and extra peak memory by length, with the exponents fitted over lengths.

    Extra memory is what a process needs beyond a step of 16 tokens. Seconds are the best of `repeats`, of
    processor time, which other load on the machine disturbs least. The peer is left out where transformers
    is not installed.
    """
    peers = list(peer_lengths) if importlib.util.find_spec("transformers") else []
    jobs = [("ehrmamba", n) for n in lengths] + [("hugging_face", n) for n in peers]
    rows = []
    for done, (name, length) in enumerate(jobs):
        rows.append(in_fresh_process(_measure, name, length, threads, repeats))
        if progress:
            progress(done + 1, len(jobs))
    ours, theirs = rows[: len(lengths)], rows[len(lengths) :]
    return {
        "threads": threads,
        "torch": torch.__version__,
        "d_model": MODEL.d_model,
        "n_layers": MODEL.n_layers,
        "ehrmamba": ours,
        "hugging_face": theirs,
        "time_exponent": exponent([r["length"] for r in ours], [r["seconds"] for r in ours]),
        "memory_exponent": exponent([r["length"] for r in ours], [r["extra_bytes"] for r in ours]),
    }


def exponent(lengths: Sequence[float], costs: Sequence[float]) -> float | None:
    """The slope of log cost by log length (least squares); None for fewer than two lengths."""
    if len(lengths) < 2:
        return None
    xs, ys = [math.log(n) for n in lengths], [math.log(max(c, 1e-9)) for c in costs]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return covariance / sum((x - mean_x) ** 2 for x in xs)


def table(result: dict[str, Any]) -> str:
    """The result as lines to print."""
    rows = [
        [
            name,
            str(row["length"]),
            f"{row['seconds']:.3f}",
            f"{row['length'] / row['seconds']:.0f}",
            f"{row['extra_bytes'] / MIB:.1f}",
        ]
        for name in ("ehrmamba", "hugging_face")
        for row in result[name]
    ]
    exponents = [
        [name.replace("_", " "), ratio_text(result[name])] for name in ("time_exponent", "memory_exponent")
    ]
    return "\n".join(text_table(("", "length", "seconds", "tokens/s", "extra MiB"), [*rows, *exponents]))


def _measure(name: str, length: int, threads: int, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step = {"ehrmamba": _our_step, "hugging_face": _their_step}[name]()
    step(16)  # everything that is allocated once: code, workspaces of the libraries, optimiser state
    before = peak_bytes()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        step(length)
        seconds.append(time.process_time() - start)
    return {"length": length, "seconds": min(seconds), "extra_bytes": peak_bytes() - before}


def _our_step() -> Step:
    model, objective = Model(MODEL, VOCAB_SIZE), NextEvent(MODEL.d_model, VOCAB_SIZE)

    def loss(length: int) -> Tensor:
        total, count, _ = objective.loss(model, random_batch(1, length, VOCAB_SIZE, MODEL))
        return total / count

    return _training(loss, [*model.parameters(), *objective.parameters()])


def _their_step() -> Step:
    model = causal_model(MODEL, VOCAB_SIZE)

    def loss(length: int) -> Tensor:
        codes = random_batch(1, length, VOCAB_SIZE, MODEL).codes
        return model(input_ids=codes, labels=codes).loss

    return _training(loss, list(model.parameters()))


def _training(loss: Callable[[int], Tensor], parameters: list[torch.nn.Parameter]) -> Step:
    optimiser = torch.optim.AdamW(parameters)

    def step(length: int) -> None:
        optimiser.zero_grad()
        loss(length).backward()
        optimiser.step()

    return step
