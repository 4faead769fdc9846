"""What people read of each token of a record: the event that it stands for, or what structure it is."""

import numpy as np
import polars as pl
import pyarrow as pa

from chartscan.artifact import SequenceArtifact
from chartscan.inputs.tokens import Encoded, known_order, token_rows
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.order import ALWAYS

STRUCTURE = {T.CLS: "start", T.VS: "visit boundary", T.VE: "visit boundary", T.REG: "visit boundary"}
STRUCTURE |= {T.INTERVAL: "interval", T.TASK: "task"}
TYPES = {number: name.replace("_", " ") for name, number in T.TYPE_OF_EVENT.items()} | STRUCTURE


def token_events(artifact: SequenceArtifact, encoded: Encoded, record: pa.Table) -> pl.DataFrame:
    """Of every token of a subject's whole record: time, code, type, value, event_type."""
    events = token_rows(known_order(record), artifact.vocabulary.config)
    tokens = artifact.vocabulary.tokens
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
