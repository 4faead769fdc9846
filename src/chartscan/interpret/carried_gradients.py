"""Integrated gradients of models that read the carried state, by variable and hour, and by event.

The way goes straight from one batch's inputs to another's: every channel of every variable and hour, and, for
models that encode the state at the end by quantiles, that encoding as it enters the learned weights. There
everything is smooth or bends; the quantile curves before it have jumps (values that many stays share), where
no gradient sees the change and nothing would add up.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from chartscan.batch import SeriesBatch
from chartscan.interpret.attention import first_output, outputs_of
from chartscan.interpret.events import Score, real_events
from chartscan.interpret.integrated_gradients import Attribution, path_integral
from chartscan.layers.quantile_bins import QuantileBins, QuantileScores


class CarriedAttribution(NamedTuple):
    """What is known of each variable adds so much to the log odds."""

    hourly: Tensor  # (B, H, V), read hour by hour
    final: Tensor  # (B, V), read once, as it is at the end
    change: Tensor  # (B,) log odds of the stay less those of the baseline


def of_carried(
    score: Score[SeriesBatch], batch: SeriesBatch, baseline: SeriesBatch, model: nn.Module, steps: int
) -> CarriedAttribution:
    """From `baseline`, of the same shape, to `batch`; both hold their carried state."""
    assert batch.carried is not None
    encodings = [one for one in model.modules() if isinstance(one, QuantileBins | QuantileScores)]
    inputs, start = (_inputs(score, one, encodings) for one in (batch, baseline))
    sizes = [one.shape[1] for one in inputs]
    shape = batch.carried.shape

    def at(vectors: Tensor) -> Tensor:
        carried, *encoded = vectors.split(sizes, 1)
        with ExitStack() as stack:
            for module, output in zip(encodings, encoded, strict=True):
                stack.enter_context(first_output(module, output))
            return score(replace(batch, carried=carried.view(shape)))

    found, change = path_integral(at, torch.cat(inputs, 1), torch.cat(start, 1), steps)
    hourly, *final = found.split(sizes, 1)
    by_variable = [_of_variables(one, shape[2], module) for one, module in zip(final, encodings, strict=True)]
    nothing = found.new_zeros(shape[0], shape[2])
    return CarriedAttribution(hourly.view(shape).sum(3), sum(by_variable, nothing), change)


def _inputs(score: Score[SeriesBatch], batch: SeriesBatch, encodings: Sequence[nn.Module]) -> list[Tensor]:
    """The carried state and its encodings, each (B, numbers)."""
    assert batch.carried is not None
    with torch.no_grad(), ExitStack() as stack:
        seen = [stack.enter_context(outputs_of(module)) for module in encodings]
        score(batch)
    return [batch.carried.flatten(1), *(outputs[0] for outputs in seen)]


def _of_variables(numbers: Tensor, n_variables: int, encoding: nn.Module) -> Tensor:
    """(B, numbers) of an encoding summed by variable (B, V); features are in the order of variables.

    Scores are those of all features and then all squares; bins are those of all features and then these.
    """
    if isinstance(encoding, QuantileScores):
        parts = numbers.chunk(2, 1)
    else:
        assert isinstance(encoding, QuantileBins)
        features = len(encoding.edges)
        parts = numbers.split([numbers.shape[1] - features, features], 1)
    return torch.stack([part.view(len(part), n_variables, -1).sum(2) for part in parts]).sum(0)


def of_events(found: CarriedAttribution, batch: SeriesBatch) -> Attribution:
    """Each event's share: an hour belongs to the latest measurements of the variable, the end to all of them.

    Events of one variable and hour have equal shares, and so have all of a variable of what is read at the
    end. Of a variable that was never measured nothing can differ from a baseline without measurements.
    """
    assert batch.steps is not None
    owners = _owners(batch, found.hourly.shape[1])
    events = _cells(batch)
    real = real_events(batch)
    rows = torch.arange(len(events), device=events.device).unsqueeze(1).expand_as(events)
    places = rows, events, (batch.variables - 1).clamp(min=0)
    nothing = torch.zeros_like(found.hourly)
    counts = nothing.index_put(places, real.to(nothing.dtype), accumulate=True)
    sums = nothing.scatter_add(1, owners.clamp(min=0), found.hourly * (owners >= 0))
    measured = counts.sum(1)  # (B, V)
    each = sums / counts.clamp(min=1) + (found.final / measured.clamp(min=1)).unsqueeze(1)
    shares = each[places] * real
    return Attribution(shares, found.change, shares.sum(1) - found.change)


def _cells(batch: SeriesBatch) -> Tensor:
    """The hour (B, L) of `carried` in which each event first shows; 0 for those before its window."""
    assert batch.steps is not None
    last = (batch.ends.ceil().clamp(min=1) - 1).long()  # hour of the prediction, from time zero
    begins = last + 1 - batch.steps
    hours = (batch.hours.ceil().long() - 1).clamp(min=0)
    return (hours - begins.unsqueeze(1)).clamp(min=0)


def _owners(batch: SeriesBatch, hours: int) -> Tensor:
    """(B, H, V): the hour of `_cells` in which the latest measurement known there was made; -1 for none."""
    assert batch.carried is not None
    cells, real = _cells(batch), real_events(batch)
    rows = torch.arange(len(cells), device=cells.device).unsqueeze(1).expand_as(cells)
    found = torch.full((len(cells), hours, batch.carried.shape[2]), -1, device=cells.device)
    found[rows[real], cells[real], batch.variables[real] - 1] = cells[real]
    return found.cummax(1).values
