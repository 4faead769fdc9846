"""Explains series models: triplets event by event, carried state by variable and hour."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from chartscan.artifact import Artifact
from chartscan.batch import SeriesBatch
from chartscan.console import ProgressFunction
from chartscan.inputs.batches import Sampler
from chartscan.inputs.batches.series import SeriesStore, collate_series
from chartscan.inputs.hourly import Stay, carried_grid, steps_of
from chartscan.inputs.readers import HourlyReader
from chartscan.interpret.attention import attention_maps, every_position, mean_attention, rollout, selections
from chartscan.interpret.events import real_events, without
from chartscan.interpret.explanation import (
    ATTENTION,
    FUSION,
    GRADIENTS,
    OCCLUSION,
    VALUES,
    Explanation,
    Method,
    Question,
    explained,
    explanation,
)
from chartscan.interpret.faithfulness import event_occlusion, occlusion, shuffled
from chartscan.interpret.gradients import (
    Attribution,
    of_carried,
    of_each_event,
    of_embeddings,
    of_values,
    to_tolerance,
)

EVENTS_PER_BATCH = 8192
UNLIMITED = 1 << 30  # events of a stay

SeriesScore = Callable[[SeriesBatch], Tensor]


def explain_series(
    artifact: Artifact[HourlyReader],
    questions: Sequence[Question],
    stays: Sequence[Stay],
    seed: int,
    progress: ProgressFunction,
) -> list[Explanation]:
    """Explain each question's stay, in order; stays without events are left out."""
    assert artifact.network.answering is not None
    store = SeriesStore.build(stays, np.zeros((len(stays), 0)), artifact.reader.variables)
    if artifact.network.model.INPUT == "carried":
        store = replace(store, max_events=UNLIMITED)
    model, head = artifact.network.model.eval(), artifact.network.answering.eval()
    other, other_head = shuffled(model, seed).eval(), shuffled(head, seed).eval()
    found: dict[int, Explanation] = {}
    for task in dict.fromkeys(question.task for question in questions):
        own = np.array([question.task == task for question in questions])
        which = np.flatnonzero(own & (store.lengths("triplets") > 0))
        column = artifact.tasks.index(task)
        score = _score(model, head, column, store)
        methods = series_methods(model, head, column, store)
        random = series_methods(other, other_head, column, store)
        random.pop(OCCLUSION)
        for part in Sampler(store.lengths("triplets")[which], EVENTS_PER_BATCH).in_order():
            indices = which[part]
            batch = collate_series(store, indices, "triplets").to(next(model.parameters()).device)
            rows = explained(score, batch, methods, random, [questions[i].seeds(seed) for i in indices])
            for i, row, n in zip(indices.tolist(), rows, batch.lengths.tolist(), strict=True):
                events = _events(artifact, questions[i], stays[i], n)
                found[i] = explanation(questions[i], events, row, slice(0, n))
            progress(len(found), len(questions))
    return [found[i] for i in sorted(found)]


def series_methods(model: Any, head: Any, task: int, store: SeriesStore) -> dict[str, Method[SeriesBatch]]:
    """Return the methods for a series model, by input and architecture."""
    score = _score(model, head, task, store)
    if model.INPUT == "carried":
        return {
            GRADIENTS: lambda batch: _of_carried(model, head, task, store, batch, _never_measured(batch)),
            VALUES: lambda batch: _of_carried(model, head, task, store, batch, _of_mean_values(batch)),
            OCCLUSION: lambda batch: _of_variable_hours(score, batch),
        }
    embedding: nn.Module = model.embedding  # type: ignore[assignment]
    found: dict[str, Method[SeriesBatch]] = {
        GRADIENTS: lambda b: to_tolerance(lambda n: of_embeddings(score, b, embedding, n))[0],
        VALUES: lambda b: to_tolerance(lambda n: of_values(score, b, n))[0],
    }
    if hasattr(model, "fusion"):
        found[FUSION] = lambda batch: _fusion(model, batch)
        found[ATTENTION] = lambda batch: _rolled_out(model, batch)
    return found | {OCCLUSION: lambda batch: event_occlusion(score, batch)}


def _score(model: Any, head: Any, task: int, store: SeriesStore) -> SeriesScore:
    """Raw log odds of one task from a batch of triplets, for every kind of input that a model reads."""
    if model.INPUT == "triplets":
        return _answer(model, head, task)
    answer = _answer(model, head, task)
    return lambda batch: answer(_carried(batch, store))


def _answer(model: Any, head: Any, task: int) -> SeriesScore:
    """Raw log odds of one task from what the model reads."""
    return lambda batch: head.predict(model, batch)[:, task]


def _of_carried(
    model: Any, head: Any, task: int, store: SeriesStore, batch: SeriesBatch, baseline: SeriesBatch
) -> Attribution:
    """Integrated gradients of the carried state from that of the events of `baseline`."""
    whole, start = _carried(batch, store), _carried(baseline, store)
    answer = _answer(model, head, task)

    def at(steps: int) -> Attribution:
        return of_each_event(of_carried(answer, whole, start, model, steps), whole)

    return to_tolerance(at)[0]


def _never_measured(batch: SeriesBatch) -> SeriesBatch:
    """The same stays without any event."""
    return without(batch, real_events(batch))


def _of_mean_values(batch: SeriesBatch) -> SeriesBatch:
    """The same events, each with the train mean of its variable (by rank: the median)."""
    return replace(batch, values=torch.zeros_like(batch.values))


def _carried(batch: SeriesBatch, store: SeriesStore) -> SeriesBatch:
    """The carried state made anew from the batch's triplets."""
    device, batch = batch.lengths.device, batch.to("cpu")
    real = real_events(batch)
    rows = torch.nonzero(real)[:, 0].numpy()
    hours, variables, values = (x[real].numpy() for x in (batch.hours, batch.variables, batch.values))
    steps, window = steps_of(batch.ends.numpy()), math.ceil(store.window_hours)
    grid = carried_grid(rows, hours, variables, values, steps, store.n_variables, window)
    shown = torch.from_numpy(np.minimum(steps, window))
    return replace(batch, carried=torch.from_numpy(np.ascontiguousarray(grid)), steps=shown).to(device)


def _of_variable_hours(score: SeriesScore, batch: SeriesBatch) -> Tensor:
    """What the events of one variable and hour add together, in equal shares."""
    span = int(batch.hours.max()) + 1 if batch.hours.numel() else 1
    cell = batch.variables * span + batch.hours.floor().long()
    _, groups = torch.unique(cell, return_inverse=True)
    changes = occlusion(score, batch, groups)
    counts = torch.zeros_like(changes).scatter_add(1, groups, real_events(batch).to(changes.dtype))
    return (changes / counts.clamp(min=1)).gather(1, groups) * real_events(batch)


@torch.no_grad()
def _fusion(model: Any, batch: SeriesBatch) -> Tensor:
    found: Tensor = model.attention(batch)
    return found


@torch.no_grad()
def _rolled_out(model: Any, batch: SeriesBatch) -> Tensor:
    """From the fusion's weights back through self-attention and the Mamba blocks' hidden attention."""
    maps = [mean_attention(one, every_position(one)) for one in selections(model, batch)]
    maps += [one.mean(1) for one in attention_maps(model, batch)]
    return rollout(_fusion(model, batch), maps) * real_events(batch)


def _events(artifact: Artifact[HourlyReader], question: Question, stay: Stay, shown: int) -> pl.DataFrame:
    """The last `shown` triplets of the stay; the type of one is its variable."""
    zero = question.prediction_time - timedelta(hours=stay.end_hours)
    part = slice(len(stay.hours) - shown, None)
    names = [artifact.reader.variables.names[number - 1] for number in stay.variables[part].tolist()]
    times = [zero + timedelta(hours=float(hours)) for hours in stay.hours[part]]
    codes = [name.partition(" [")[0] for name in names]
    units = [name.partition(" [")[2].removesuffix("]") for name in names]
    values = [f"{v:.4g} {unit}".strip() for v, unit in zip(stay.values[part].tolist(), units, strict=True)]
    return pl.DataFrame(
        {
            "position": np.arange(shown),
            "time": times,
            "code": codes,
            "type": names,
            "value": values,
            "event_type": [None] * shown,
            "visit": [1] * shown,
        },
        schema_overrides={"time": pl.Datetime("us"), "event_type": pl.String, "value": pl.String,
                          "code": pl.String, "type": pl.String, "visit": pl.Int64},
    )  # fmt: skip
