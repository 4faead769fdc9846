"""Integrated gradients: each input's contribution to the log odds, from a baseline.

Sundararajan, Taly and Yan 2017 (arXiv:1703.01365). The attributions add up to the change of the log odds from
the baseline to the stay (completeness); the gap that is left by numerical integration is given beside them.
Two paths for triplets: that of the values asks what a value adds to the train mean of its variable; that of
the event embeddings asks what makes this event matter rather than an average one, its presence and time too.

For models that read the carried state, the path goes from one batch's inputs to another's: every channel of
every variable and hour, and, where the state at the end is encoded by quantiles, that encoding as it enters
the learned weights. There everything is smooth or bends; the quantile curves before it have jumps (values
that many stays share), where a gradient sees no change and the attributions would not add up.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.batch import SeriesBatch
from chartscan.errors import ConfigError
from chartscan.interpret.attention import first_output, outputs_of
from chartscan.interpret.events import AnyBatch, Score, candidates, longest, real_events
from chartscan.layers.quantile_bins import QuantileBins, QuantileScores

STEPS, MOST_STEPS = 32, 512
TOLERANCE = 0.01


class Attribution(NamedTuple):
    """What each event adds, and how well the sum fits."""

    events: Tensor  # (B, L); 0 at padding
    change: Tensor  # (B,) log odds of the stay less those of the baseline
    gap: Tensor  # (B,) sum of `events` less `change`

    @property
    def relative_gap(self) -> float:
        """Sum of absolute gaps over sum of changes, all rows; nan without change."""
        return float(self.gap.abs().sum() / self.change.abs().sum())


class CarriedAttribution(NamedTuple):
    """What the state of each variable adds to the log odds."""

    hourly: Tensor  # (B, H, V), read hour by hour
    final: Tensor  # (B, V), read once, as it is at the end
    change: Tensor  # (B,) log odds of the stay less those of the baseline


def of_values(score: Score[SeriesBatch], batch: SeriesBatch, steps: int = STEPS) -> Attribution:
    """Integrate from value 0, the train mean, to each value; times stay fixed."""

    def at(values: Tensor) -> Tensor:
        return score(replace(batch, values=values))

    found, change = path_integral(at, batch.values, torch.zeros_like(batch.values), steps)
    return _attribution(found * real_events(batch), change)


def of_embeddings(
    score: Score[AnyBatch],
    batch: AnyBatch,
    embedding: nn.Module,
    steps: int = STEPS,
    groups: Tensor | None = None,
    kinds: nn.Module | None = None,
    usual: Tensor | None = None,
) -> Attribution:
    """Integrate from an average event's embedding to each event's, summed over width.

    `embedding` is the part of the model behind `score` whose first call in a pass gives (B, L, D) for the
    batch; the baseline is the mean of the row's events. With `groups` (B, L), numbers from 0, it is that of
    the events of the same group. With `kinds`, the part of `embedding` whose first call tells what kind each
    event is, only this is averaged: each event keeps its time and everything else that is embedded of it.
    Where `usual` (B, L, D) is not nan, it stands in the place of the mean.

    The mean, not zero (which padding embeds to), is the baseline: models normalise what they embed (RMSNorm),
    so that on the way from zero all change would happen in the first thousandth, where no quadrature sees it.
    """
    averaged = kinds or embedding
    with torch.no_grad(), outputs_of(embedding) as outputs, outputs_of(averaged) as seen:
        score(batch)
    embedded, whole = outputs[0], seen[0]
    more = embedded.shape[1] - longest(batch)  # what models append: a step of padding, a task token
    real = F.pad(candidates(batch), (0, more))
    mean = _mean_of_groups(whole, real, None if groups is None else F.pad(groups, (0, more)))
    if usual is not None:
        usual = F.pad(usual, (0, 0, 0, more), value=torch.nan)
        mean = torch.where(usual.isnan(), mean, usual)
    if kinds is not None:
        average = torch.where(real.unsqueeze(2), mean, whole)
        with torch.no_grad(), first_output(kinds, average), outputs_of(embedding) as outputs:
            score(batch)
        mean = outputs[0]

    def at(vectors: Tensor) -> Tensor:
        with first_output(embedding, vectors):
            return score(batch)

    baseline = torch.where(real.unsqueeze(2), mean, embedded)
    found, change = path_integral(at, embedded, baseline, steps)
    return _attribution(found.sum(2)[:, : longest(batch)], change)


def of_carried(
    score: Score[SeriesBatch], batch: SeriesBatch, baseline: SeriesBatch, model: nn.Module, steps: int
) -> CarriedAttribution:
    """Integrate the carried state from `baseline` to `batch`, of the same shape."""
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


def of_each_event(found: CarriedAttribution, batch: SeriesBatch) -> Attribution:
    """Return each event's share of the hourly attributions.

    An hour belongs to the latest measurements of the variable, the end to all of them. Events of one variable
    and hour have equal shares, and so have all of a variable of what is read at the end. Of a variable that
    was never measured nothing can differ from a baseline without measurements.
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


def to_tolerance(
    method: Callable[[int], Attribution], tolerance: float = TOLERANCE, most_steps: int = MOST_STEPS
) -> tuple[Attribution, int]:
    """Return the attribution and its steps, doubled until the relative gap is below `tolerance`.

    It starts at STEPS steps. The last one is given where `most_steps` do not reach it: the reader sees its
    gap.
    """
    steps = STEPS
    found = method(steps)
    while not found.relative_gap < tolerance and 2 * steps <= most_steps:
        steps *= 2
        found = method(steps)
    return found, steps


def path_integral(
    function: Callable[[Tensor], Tensor], inputs: Tensor, baseline: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """(inputs - baseline) times the mean gradient on the way, by Gauss-Legendre quadrature; and the change.

    `function` gives one number a row, (B,), and no row's depends on another's inputs.
    """
    if steps < 1:
        raise ConfigError(f"steps is {steps}; expected at least 1.")
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(inputs)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        point = (baseline + float(node) * (inputs - baseline)).detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(function(point).sum(), point)
        total += float(weight) * gradient
    with torch.no_grad():
        change = function(inputs) - function(baseline)
    return ((inputs - baseline) * total).detach(), change


def _mean_of_groups(embedded: Tensor, real: Tensor, groups: Tensor | None) -> Tensor:
    """(B, L, D): the mean of the row's real vectors of the same group."""
    own = torch.zeros_like(real, dtype=torch.int64) if groups is None else groups
    weights = F.one_hot(own).to(embedded.dtype) * real.unsqueeze(2)  # (B, L, G)
    sums = torch.einsum("blg,bld->bgd", weights, embedded)
    means = sums / weights.sum(1).clamp(min=1).unsqueeze(2)
    return means.gather(1, own.unsqueeze(2).expand_as(embedded))


def _attribution(events: Tensor, change: Tensor) -> Attribution:
    return Attribution(events, change, events.sum(1) - change)


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
