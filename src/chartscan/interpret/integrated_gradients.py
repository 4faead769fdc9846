"""Integrated gradients: what each input adds to the log odds along a straight path from a baseline.

Sundararajan, Taly and Yan 2017 (arXiv:1703.01365). The attributions add up to the change of the log odds from
the baseline to the stay (completeness); the gap that is left by numerical integration is given beside them.
Two paths for triplets: that of the values asks what a value adds to the train mean of its variable; that of
the event embeddings asks what makes this event matter rather than an average one, its presence and time too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from chartscan.batch import SeriesBatch
from chartscan.errors import ConfigError
from chartscan.interpret.occlusion import Score, real_events

STEPS, MOST_STEPS = 32, 512
TOLERANCE = 0.01


class Attribution(NamedTuple):
    """What each event adds, and how well the sum fits."""

    events: Tensor  # (B, L); 0 at padding
    change: Tensor  # (B,) log odds of the stay less those of the baseline
    gap: Tensor  # (B,) sum of `events` less `change`

    @property
    def relative_gap(self) -> float:
        """Sum of the absolute gaps over that of the changes, all rows together; nan without any change."""
        return float(self.gap.abs().sum() / self.change.abs().sum())


def of_values(score: Score, batch: SeriesBatch, steps: int = STEPS) -> Attribution:
    """From value 0, the train mean of the variable, to the value of each event. Times and variables stay."""

    def at(values: Tensor) -> Tensor:
        return score(replace(batch, values=values))

    found, change = path_integral(at, batch.values, torch.zeros_like(batch.values), steps)
    return _attribution(found * real_events(batch), change)


def of_embeddings(score: Score, batch: SeriesBatch, embedding: nn.Module, steps: int = STEPS) -> Attribution:
    """From the mean embedding of the stay's events to that of each event, summed over its width.

    `embedding` is the part of the model behind `score` that gives (B, L, D) for the triplets, called once a
    pass. The mean, not zero, is the baseline: models normalise what they embed (RMSNorm), so that on the way
    from zero all change would happen in the first thousandth, where no quadrature sees it.
    """
    with torch.no_grad(), _recorded(embedding) as outputs:
        score(batch)
    (embedded,) = outputs
    real = real_events(batch).unsqueeze(2).to(embedded.dtype)  # (B, L, 1)
    mean = (embedded * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)

    def at(vectors: Tensor) -> Tensor:
        with _replaced(embedding, vectors):
            return score(batch)

    found, change = path_integral(at, embedded, torch.where(real > 0, mean, embedded), steps)
    return _attribution(found.sum(2), change)


def to_tolerance(
    method: Callable[[int], Attribution], tolerance: float = TOLERANCE, most_steps: int = MOST_STEPS
) -> tuple[Attribution, int]:
    """The attribution with STEPS steps, doubled until the relative gap is below `tolerance`; and the steps.

    The last one is given where `most_steps` do not reach it: the reader sees its gap.
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


def _attribution(events: Tensor, change: Tensor) -> Attribution:
    return Attribution(events, change, events.sum(1) - change)


@contextmanager
def _recorded(module: nn.Module) -> Iterator[list[Tensor]]:
    """What `module` gives meanwhile."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def _replaced(module: nn.Module, output: Tensor) -> Iterator[None]:
    """`module` gives `output` meanwhile, whatever it is shown."""
    handle = module.register_forward_hook(lambda *_: output)
    try:
        yield
    finally:
        handle.remove()
