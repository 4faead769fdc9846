"""The exact instants behind a subject's tokens: what a future has to count its times, gaps and ages from."""

from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.encoded import Encoded
from chartscan.inputs.tokens.order import known_order
from chartscan.inputs.tokens.pace import is_event
from chartscan.inputs.tokens.vocabulary import token_rows


class Origin(NamedTuple):
    """The instants behind a history's attributes, microseconds; None where not known."""

    birth: int | None
    first_time: int | None  # of the first event that became known
    last_time: int | None  # of the last token that has attributes
    now: int  # when the future begins, where the history has no event to count from


class Timeline(NamedTuple):
    """Birth, and the events that became tokens, in known order; microseconds."""

    birth: int | None
    birth_known: int
    times: np.ndarray  # (E,) int64

    def origin(self, history: Encoded, now: int) -> Origin:
        """The instants behind the first tokens of the subject's whole sequence, `history`."""
        events = int(is_event(history.types).sum())
        shown = events + int(history.types[-1] == T.VS and history.attributed[-1])
        birth = self.birth if self.birth_known <= now else None
        if not shown:
            return Origin(birth, None, None, now)
        return Origin(birth, int(self.times[0]), int(self.times[shown - 1]), now)


def timelines(table: pa.Table, config: SequenceConfig) -> dict[int, Timeline]:
    """The timeline of every subject of an EVENTS table."""
    frame = known_order(table)
    births = {
        row[0]: row[1:]
        for row in frame.filter((pl.col("event_type") == "birth") & pl.col("time").is_not_null())
        .unique("subject_id", keep="first", maintain_order=True)
        .select("subject_id", pl.col("time").dt.epoch("us"), "known")
        .iter_rows()
    }
    timed = token_rows(frame, config).filter(pl.col("time").is_not_null())
    ids, times = timed["subject_id"].to_numpy(), timed["time"].dt.epoch("us").to_numpy()
    found = {}
    for subject in frame["subject_id"].unique(maintain_order=True).to_list():
        first, end = np.searchsorted(ids, [subject, subject + 1])
        birth, known = births.get(subject, (None, 0))
        found[subject] = Timeline(birth, known, times[first:end])
    return found
