"""Events as explanations show them."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

from chartscan.artifact import Artifact
from chartscan.batch import PAD, Batch, Prompts, SeriesBatch
from chartscan.errors import ConfigError
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import Encoded, known_order, token_rows
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.visits import ALWAYS

# Events of a batch, and batches with fewer events. Prompt b stands after the last token of row b.

AnyBatch = TypeVar("AnyBatch", Batch, SeriesBatch)
Score = Callable[[AnyBatch], Tensor]  # log odds (B,) of one question a row

_TOKENS = ("codes", "types", "ages", "times", "gaps", "segments", "visit_orders", "positions", "attributed")
_TRIPLETS = ("hours", "variables", "values")
_WHOLE_STAY = ("statics", "ends", "labels")


def longest(batch: AnyBatch) -> int:
    """L, with padding."""
    return batch.codes.shape[1] if isinstance(batch, Batch) else batch.hours.shape[1]


def real_events(batch: AnyBatch) -> Tensor:
    """(B, L) bool: not padding."""
    positions = torch.arange(longest(batch), device=batch.lengths.device)
    return positions < batch.lengths.unsqueeze(1)


def candidates(batch: AnyBatch) -> Tensor:
    """Return which events an explanation may rank (B, L) bool: not the first token."""
    real = real_events(batch)
    if isinstance(batch, Batch):
        real[:, :1] = False
    return real


def rows_of(batch: AnyBatch, rows: Tensor) -> AnyBatch:
    """Return `rows` (repeats allowed) with their questions, without carried state and forecast."""
    names = (*(_TOKENS if isinstance(batch, Batch) else (*_TRIPLETS, *_WHOLE_STAY)), "lengths")
    taken: dict[str, Any] = {name: getattr(batch, name)[rows] for name in names}
    if isinstance(batch, Batch):
        taken["prompts"] = _asked_after(batch.prompts, rows, taken["lengths"])
    return type(batch)(**taken)


def without(batch: AnyBatch, removed: Tensor) -> AnyBatch:
    """Return the batch without the events where `removed` (B, L) is true.

    The others keep their order. The first token of a row stays. Gaps are counted anew where the token they
    were counted from is gone.
    """
    changes = _tokens_left(batch, removed) if isinstance(batch, Batch) else _triplets_left(batch, removed)
    return replace(batch, **changes)


def with_questions(batch: Batch, task_type: int) -> Batch:
    """Return every row followed by its task token, as models read it; no prompts."""
    assert batch.prompts is not None
    longer: dict[str, Any] = {name: torch.nn.functional.pad(getattr(batch, name), (0, 1)) for name in _TOKENS}
    ends = batch.lengths.unsqueeze(1)
    put = {"codes": batch.prompts.codes, "types": torch.full_like(batch.lengths, task_type)}
    put |= {"positions": batch.lengths}
    longer |= {name: longer[name].scatter(1, ends, value.unsqueeze(1)) for name, value in put.items()}
    return Batch(**longer, lengths=batch.lengths + 1)


def _triplets_left(batch: SeriesBatch, removed: Tensor) -> dict[str, Any]:
    if batch.carried is not None:
        raise ConfigError("Events can be removed from triplets only; this batch holds a carried state.")
    kept = real_events(batch) & ~removed
    return {**_left(batch, _TRIPLETS, kept), "lengths": kept.sum(1)}


def _tokens_left(batch: Batch, removed: Tensor) -> dict[str, Any]:
    kept = real_events(batch) & ~(removed & candidates(batch))
    lengths = kept.sum(1)
    left = _left(batch, _TOKENS, kept)
    positions = torch.arange(left["codes"].shape[1], device=kept.device).expand_as(left["codes"])
    left["positions"] = positions * (positions < lengths.unsqueeze(1))
    left["gaps"] = _gaps_left(batch, kept, left)
    rows = torch.arange(len(lengths), device=lengths.device)
    return {**left, "lengths": lengths, "prompts": _asked_after(batch.prompts, rows, lengths)}


def _left(batch: AnyBatch, names: tuple[str, ...], kept: Tensor) -> dict[str, Tensor]:
    """The columns without what is not kept, padded with zeros."""
    order, real = _kept_first(kept)
    return {name: getattr(batch, name).gather(1, order).masked_fill(~real, PAD) for name in names}


def _kept_first(kept: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the kept events in their order, cut to the most that any row keeps; and which are real."""
    lengths = kept.sum(1)
    size = int(lengths.max()) if len(lengths) else 0
    order = torch.argsort((~kept).to(torch.uint8), dim=1, stable=True)[:, :size]
    return order, torch.arange(size, device=kept.device) < lengths.unsqueeze(1)


def _gaps_left(batch: Batch, kept: Tensor, left: dict[str, Tensor]) -> Tensor:
    """Gaps (B, L') of what is left: the old ones but where the attributed token before is another now."""
    order, real = _kept_first(kept)
    places = torch.arange(batch.codes.shape[1], device=kept.device).expand_as(batch.codes)
    old = _latest(places, batch.attributed).gather(1, order)
    new = _latest(order, left["attributed"])
    since = left["times"] - batch.times.gather(1, new.clamp(min=0))
    gaps = torch.where(old == new, left["gaps"], since)
    return gaps.masked_fill((new < 0) | ~left["attributed"] | ~real, 0.0)


def _latest(places: Tensor, attributed: Tensor) -> Tensor:
    """Of each position the place of the latest attributed token before it, (B, L); -1 where there is none."""
    found = places.masked_fill(~attributed, -1).cummax(1).values if places.shape[1] else places
    return torch.nn.functional.pad(found, (1, 0), value=-1)[:, : places.shape[1]]


def _asked_after(prompts: Prompts | None, rows: Tensor, lengths: Tensor) -> Prompts | None:
    """The questions of `rows`, asked after the last of `lengths` tokens."""
    if prompts is None:
        return None
    taken = {f.name: getattr(prompts, f.name)[rows] for f in fields(Prompts)}
    numbers = torch.arange(len(rows), device=rows.device)
    return Prompts(**taken | {"rows": numbers, "positions": lengths - 1})


STRUCTURE = {T.CLS: "start", T.VS: "visit boundary", T.VE: "visit boundary", T.REG: "visit boundary"}
STRUCTURE |= {T.INTERVAL: "interval", T.TASK: "task"}
TYPES = {number: name.replace("_", " ") for name, number in T.TYPE_OF_EVENT.items()} | STRUCTURE


def token_events(artifact: Artifact[TokenReader], encoded: Encoded, record: pa.Table) -> pl.DataFrame:
    """Of every token of a subject's whole record: time, code, type, value, event_type."""
    events = token_rows(known_order(record), artifact.reader.vocabulary.config)
    tokens = artifact.reader.vocabulary.tokens
    of_event = ~np.isin(encoded.types, list(STRUCTURE))
    source = np.full(encoded.n, -1)
    source[of_event] = np.arange(len(events))
    taken = events.select("code", "time", "event_type", _value().alias("value"))[np.maximum(source, 0)]
    own = pl.Series(of_event)
    known = pl.Series(encoded.known.astype(np.int64))
    names = pl.Series([TYPES[number] for number in encoded.types.tolist()])
    return taken.select(
        time=pl.when(own).then("time").otherwise(pl.when(known > ALWAYS).then(known.cast(pl.Datetime("us")))),
        code=pl.when(own).then("code").otherwise(pl.Series([tokens[code] for code in encoded.codes])),
        type=names,
        value=pl.when(own).then("value"),
        event_type=pl.when(own).then("event_type"),
    )


def _value() -> pl.Expr:
    number = pl.col("numeric_value").round_sig_figs(4).cast(pl.String).str.strip_suffix(".0")
    shown = pl.concat_str([number, pl.col("unit")], separator=" ", ignore_nulls=True)
    return pl.when(pl.col("numeric_value").is_not_null()).then(shown).otherwise("text_value")
