"""Random batches that look like ICU stays, and the operations that tests apply to them."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from chartscan.batch import ForecastWindow, SeriesBatch
from chartscan.inputs.hourly import CHANNELS

N_VARIABLES, N_STATICS, N_TASKS, N_CHANNELS = 7, 3, 2, len(CHANNELS)
LENGTHS = (12, 0, 9, 1)


def random_series(lengths=LENGTHS, seed=0):
    """Stays of the given numbers of events in 48 hours; 1 to 6 hourly steps; one label in four unknown."""
    g = torch.Generator().manual_seed(seed)
    rows, longest = len(lengths), max(lengths)
    real = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    hours = 48 * torch.rand(rows, longest, generator=g)
    steps = torch.tensor([1 + length % 6 for length in lengths])
    carried = torch.randn(rows, int(steps.max()), N_VARIABLES, N_CHANNELS, generator=g)
    labels = (torch.rand(rows, N_TASKS, generator=g) < 0.5).float()
    unknown = torch.arange(rows * N_TASKS).view(rows, N_TASKS) % 4 == 3
    return SeriesBatch(
        hours=hours.masked_fill(~real, torch.inf).sort(1).values.masked_fill(~real, 0.0),
        variables=torch.randint(1, N_VARIABLES + 1, (rows, longest), generator=g) * real,
        values=torch.randn(rows, longest, generator=g) * real,
        lengths=torch.tensor(lengths),
        statics=torch.randn(rows, N_STATICS, generator=g),
        ends=torch.full((rows,), 48.0),
        labels=labels.masked_fill(unknown, torch.nan),
        carried=carried * (torch.arange(carried.shape[1]) < steps.unsqueeze(1))[:, :, None, None],
        steps=steps,
        forecast=ForecastWindow(
            targets=torch.randn(rows, N_VARIABLES, generator=g),
            observed=torch.rand(rows, N_VARIABLES, generator=g) < 0.4,
        ),
    )


def required(config):
    """What a Config cannot be made without: the names of the channels, where it reads them by name."""
    names = config.__struct_fields__[: len(config.__struct_fields__) - len(config.__struct_defaults__)]
    return {name: {"channels": CHANNELS}[name] for name in names}


def fitted(model, rows=63):
    """The model, fitted to stays by chance where it can be fitted to its inputs."""
    if hasattr(model, "fit_inputs"):
        g = torch.Generator().manual_seed(1)
        carried = torch.randn(rows, N_VARIABLES, N_CHANNELS, generator=g)
        labels = (torch.rand(rows, N_TASKS, generator=g) < 0.5).float()
        model.fit_inputs(carried, labels)
    return model


def rows_of(batch, rows):
    """Some rows of a batch, padded to no more than they need."""
    longest, most = int(batch.lengths[rows].max()), int(batch.steps[rows].max())
    return SeriesBatch(
        **{n: getattr(batch, n)[rows, :longest] for n in ("hours", "variables", "values")},
        **{n: getattr(batch, n)[rows] for n in ("lengths", "statics", "ends", "labels", "steps")},
        carried=batch.carried[rows, :most],
        forecast=ForecastWindow(batch.forecast.targets[rows], batch.forecast.observed[rows]),
    )


def row(batch, index):
    """One stay by itself."""
    return rows_of(batch, slice(index, index + 1))


def prefix(batch, events, steps):
    """The same stays cut after so many events and hourly steps."""
    return replace(
        batch,
        **{n: getattr(batch, n)[:, :events] for n in ("hours", "variables", "values")},
        lengths=batch.lengths.clamp(max=events),
        carried=batch.carried[:, :steps],
        steps=batch.steps.clamp(max=steps),
    )


def padded_to(batch, events, steps):
    """The same stays with more padding."""
    more = events - batch.hours.shape[1]
    return replace(
        batch,
        **{n: F.pad(getattr(batch, n), (0, more)) for n in ("hours", "variables", "values")},
        carried=F.pad(batch.carried, (0, 0, 0, 0, 0, steps - batch.carried.shape[1])),
    )
