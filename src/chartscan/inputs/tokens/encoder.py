"""Encoder: EVENTS -> the tokens of EHRMamba, whole shards at once or event by event.

Both ways share the token lookup and the rules of visits; tests hold them equal.
"""

import numpy as np
import polars as pl
import pyarrow as pa

from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.encoded import DTYPES, Encoded, age_years, segment, visit_order, weeks
from chartscan.inputs.tokens.numeric import NumericBins
from chartscan.inputs.tokens.timeline import Stream
from chartscan.inputs.tokens.visits import Layout, Rows, edges, known_order, lay_out, rows_of, visit_numbers
from chartscan.inputs.tokens.vocabulary import TokenLookup, Vocabulary, token_rows

NEVER = np.iinfo(np.int64).max


class Encoder:
    """Tokens of subjects by one vocabulary and its bins; `config` is the vocabulary's unless given."""

    def __init__(self, vocabulary: Vocabulary, bins: NumericBins, config: SequenceConfig | None = None):
        self.vocabulary = vocabulary
        self.config = config or vocabulary.config
        self._lookup = TokenLookup(vocabulary, bins)

    def encode(self, table: pa.Table) -> Encoded:
        """The tokens of one subject."""
        found = self.encode_shard(table)
        if len(found) != 1:
            raise ValueError(f"encode takes the events of one subject, found {len(found)}")
        return found[0][1]

    def encode_shard(self, table: pa.Table) -> list[tuple[int, Encoded]]:
        """(subject_id, tokens) of every subject of an EVENTS table, by ascending id.

        The arrays of all subjects are views into those of the shard.
        """
        frame = known_order(table)
        ids = np.unique(frame["subject_id"].to_numpy())
        events = token_rows(frame, self.config)
        rows = rows_of(events, ids)
        edge = edges(rows, self.config)
        layout = lay_out(rows, edge, self._lookup.ids(events), len(ids))
        arrays = self._fields(rows, layout, visit_numbers(rows, edge), _births(frame, ids))
        spans = zip(ids.tolist(), layout.bounds[:-1].tolist(), layout.bounds[1:].tolist(), strict=True)
        return [(subject, Encoded(*(array[a:b] for array in arrays))) for subject, a, b in spans]

    def token_ids(self, table: pa.Table) -> pl.DataFrame:
        """`code` and token `id` of every event of `table` that becomes a token."""
        events = token_rows(known_order(table), self.config)
        return events.select("code", id=pl.Series(self._lookup.ids(events)))

    def start(self) -> Stream:
        """A stream for one subject: pushing its events in known order gives what `encode` gives."""
        return Stream(self._lookup, self.config)

    def _fields(
        self, rows: Rows, layout: Layout, visits: np.ndarray, births: tuple[np.ndarray, np.ndarray]
    ) -> list[np.ndarray]:
        """The fields of Encoded for the whole shard, in their order."""
        attributed = self._attributed(rows, layout)
        source, subject = layout.source[attributed], layout.subject[attributed]
        time = rows.time[source]
        born, birth_known = (column[subject] for column in births)
        visit = visits[source]
        columns = {
            "ages": np.where(birth_known <= rows.known[source], age_years(time - born), 0),
            "times": weeks(time - _first_times(rows, len(births[0]))[subject]),
            "gaps": _gaps(time, subject),
            "segments": segment(visit),
            "visit_orders": visit_order(visit),
        }
        whole = {
            "codes": layout.codes,
            "types": layout.types,
            "attributed": attributed,
            "known": layout.known.view("datetime64[us]"),
        }
        for name, values in columns.items():
            whole[name] = np.zeros(len(attributed), dtype=DTYPES[name])
            whole[name][attributed] = values
        return [whole[name] for name in DTYPES]

    def _attributed(self, rows: Rows, layout: Layout) -> np.ndarray:
        structural = [T.CLS, T.INTERVAL]
        if not self.config.visit_tokens_attributed:
            structural += [T.VS, T.VE, T.REG]
        attributed = ~np.isin(layout.types, structural)
        attributed[attributed] = rows.timed[layout.source[attributed]]
        return attributed


def _births(frame: pl.DataFrame, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Birth and when it became known, per subject; known NEVER where there is none."""
    rows = frame.filter((pl.col("event_type") == "birth") & pl.col("time").is_not_null())
    first = rows.unique("subject_id", keep="first", maintain_order=True)
    place = np.searchsorted(ids, first["subject_id"].to_numpy())
    time, known = np.zeros(len(ids), np.int64), np.full(len(ids), NEVER)
    time[place] = first["time"].dt.epoch("us").to_numpy()
    known[place] = first["known"].to_numpy()
    return time, known


def _first_times(rows: Rows, subjects: int) -> np.ndarray:
    """Time of the first event known of each subject; 0 where there is none."""
    times = np.zeros(subjects, dtype=np.int64)
    times[rows.subject[rows.first]] = rows.time[rows.first]
    return times


def _gaps(time: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Weeks since the token before, 0 at the first of a subject."""
    gaps = np.zeros(len(time))
    gaps[1:] = np.where(subject[1:] == subject[:-1], weeks(np.diff(time)), 0)
    return gaps
