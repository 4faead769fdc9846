"""A recipe's training step as it is taken: with its own objective, precision and optimiser, in any process.

A step costs something that does not depend on its tokens (the update) and something for every position. A
step of a few tokens tells the two apart.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from chartscan.batch import Batch, Loss, Prompts
from chartscan.find import find
from chartscan.inputs.tokens.specials import MASK, SPECIALS
from chartscan.learn.networks import ModelWithHead, NetworkRecipe
from chartscan.machine import keep_freed_memory
from chartscan.objectives import prompted
from chartscan.objectives.masked_event import MaskedEvent
from chartscan.objectives.next_event import NextEvent
from chartscan.training import TrainConfig
from chartscan.training.optimiser import adamw, update
from chartscan.training.plan import uses_bf16
from chartscan_lab.bench.epochs import Phase
from chartscan_lab.bench.memory import forget_peak, peak_bytes
from chartscan_lab.bench.models import random_batch
from chartscan_lab.bench.timing import clock

SMALL = 64  # tokens of a step that is little but the update
SEED = 0


class Work(NamedTuple):
    """What is trained: a recipe's model in one phase."""

    recipe: NetworkRecipe
    phase: Phase
    vocab_size: int
    n_tasks: int
    threads: int

    @property
    def config(self) -> TrainConfig:
        found = self.recipe.pretrain if self.phase == "pretraining" else self.recipe.finetune
        assert found is not None
        return found

    @property
    def bf16(self) -> bool:
        return uses_bf16(self.config, torch.device("cpu"))


class Measured(NamedTuple):
    """Of one process: seconds of steps, and the most that it held beyond its start."""

    parameters: int  # of model and head
    small_seconds: float
    seconds: list[float]  # of each batch; none where nothing was timed
    positions: list[int]
    peak_bytes: int

    @property
    def per_position(self) -> float:
        """Seconds of a position, the update left out."""
        extra = sum(self.seconds) - len(self.seconds) * self.small_seconds
        return extra / (sum(self.positions) - len(self.positions) * SMALL)

    @property
    def per_update(self) -> float:
        """Seconds of a step that do not depend on its tokens."""
        return max(self.small_seconds - SMALL * self.per_position, 0.0)


def measured(work: Work, batches: Sequence[Batch], timed: bool = True) -> Measured:
    """The most memory that a step of the last batch takes, then the time of a step of each.

    Small steps go before: libraries are loaded, and the optimiser has its state. What is timed finds the
    memory of the first step again, as in training.
    """
    torch.set_num_threads(work.threads)
    keep_freed_memory()
    forget_peak()
    before, watch = peak_bytes(), clock(work.threads)
    module = module_of(work)
    optimiser = adamw(module, work.config)
    small = full_rows(work, 1, 1, SMALL)

    def step(batch: Batch) -> None:
        update(module, optimiser, [loss(work, module, batch)], work.config.clip_norm)

    step(small)
    step(batches[-1])
    peak = peak_bytes() - before
    times = [watch.seconds(partial(step, batch)) for batch in (small, *batches) if timed]
    return Measured(
        parameters=sum(p.numel() for p in module.parameters()),
        small_seconds=times[0] if timed else math.nan,
        seconds=times[1:],
        positions=[batch.codes.numel() for batch in batches],
        peak_bytes=peak,
    )


def loss(work: Work, module: ModelWithHead, batch: Batch) -> Loss:
    """The loss of a batch in the recipe's precision."""
    with torch.autocast("cpu", torch.bfloat16) if work.bf16 else nullcontext():
        found: Loss = module(batch)
        return found


def module_of(work: Work) -> ModelWithHead:
    """Model and head with random weights."""
    torch.manual_seed(SEED)
    recipe = work.recipe
    model = find("models", recipe.architecture).Model(recipe.model, work.vocab_size)
    return ModelWithHead(model, _head(work, model))


def _head(work: Work, model: Any) -> nn.Module:
    if work.phase == "fine-tuning":
        return prompted.make(model, work.n_tasks, work.recipe.head)  # type: ignore[arg-type]
    if model.PRETRAINING == "next_event":
        return NextEvent(model.width, work.vocab_size)
    return MaskedEvent(model.width, torch.arange(work.vocab_size) >= len(SPECIALS), MASK)


def full_rows(work: Work, rows: int, prompts: int, context: int) -> Batch:
    """Rows of random tokens as long as the context: in fine-tuning with that many prompts each.

    There a row leaves room for its task token, and prompts are spread evenly; where each needs a row of its
    own, a row is one prompt's and `prompts` does not matter.
    """
    recipe = work.recipe
    if work.phase == "pretraining":
        return random_batch(rows, context, work.vocab_size, recipe.model)  # type: ignore[arg-type]
    length = context - 1
    batch = random_batch(rows, length, work.vocab_size, recipe.model)  # type: ignore[arg-type]
    each = prompts if find("models", recipe.architecture).Model.CAUSAL else 1
    ends = torch.linspace(0, length, each + 1)[1:].long() - 1
    tasks = torch.arange(each) % work.n_tasks
    asked = Prompts(
        rows=torch.arange(rows).repeat_interleave(each),
        positions=ends.repeat(rows),
        codes=work.vocab_size - 1 - tasks.repeat(rows),
        tasks=tasks.repeat(rows),
        labels=torch.zeros(rows * each),
    )
    return replace(batch, prompts=asked)
