"""From events to token ids, for whole tables and for one event; both give the same ids.

The id of an event is that of its bin or text result if the vocabulary has it, else of its bare code, else
[UNK].
"""

import math

import numpy as np
import polars as pl

from chartscan.inputs.tokens.numeric import NO_GROUP, NumericBins
from chartscan.inputs.tokens.specials import UNK
from chartscan.inputs.tokens.vocabulary import TEXT_MARK, Vocabulary, text_result


class TokenLookup:
    """Token ids by code, value, unit and text, prepared from a vocabulary and its bins."""

    def __init__(self, vocabulary: Vocabulary, bins: NumericBins):
        self._codes = vocabulary.codes
        self._bins = bins
        self._config = vocabulary.config
        self._binned = self._bin_ids()
        self._code_table = self._id_table([(code, id_) for code, id_ in self._codes.items()], ["code"])
        texts = ((*token.split(f"//{TEXT_MARK}", 1), id_) for token, id_ in self._codes.items())
        self._text_table = self._id_table([entry for entry in texts if len(entry) == 3], ["code", "text"])

    def ids(self, frame: pl.DataFrame) -> np.ndarray:
        """Token ids (int32) of the rows of EVENTS in `frame`, in its order."""
        keyed = frame.select("code", text_result(self._config).alias("text"))
        joined = keyed.join(self._code_table, on="code", how="left", maintain_order="left").join(
            self._text_table, on=["code", "text"], how="left", maintain_order="left", suffix="_text"
        )
        ids = joined.select(pl.coalesce("id_text", "id", pl.lit(UNK, pl.Int32))).to_series().to_numpy().copy()
        groups, bins = self._bins.assign(frame)
        placed = groups != NO_GROUP
        ids[placed] = self._binned[groups[placed], bins[placed]]
        return ids

    def id(self, code: str, value: float | None, unit: str | None, text: str | None) -> int:
        """Token id of one event."""
        bare = self._codes.get(code, UNK)
        if value is not None and math.isfinite(value):
            group = self._bins.group_ids.get((code, unit or ""))
            if group is None:
                return bare
            place = int((np.float64(np.float32(value)) >= self._bins.edges[group]).sum())
            return int(self._binned[group, place])
        text = text.strip() if text else ""
        short = 0 < len(text) <= self._config.max_text_length
        return self._codes.get(f"{code}//{TEXT_MARK}{text}", bare) if short else bare

    def _bin_ids(self) -> np.ndarray:
        """Ids by group and bin (groups, n_bins), the bare code's where the bin is no token."""
        ids = np.full((len(self._bins.groups), self._bins.n_bins), UNK, dtype=np.int32)
        for group, (code, _, _) in enumerate(self._bins.groups):
            bare = self._codes.get(code, UNK)
            for place in range(self._bins.n_bins):
                ids[group, place] = self._codes.get(f"{code}//{self._bins.suffix(group, place)}", bare)
        return ids

    @staticmethod
    def _id_table(entries: list[tuple], keys: list[str]) -> pl.DataFrame:
        schema = dict.fromkeys(keys, pl.String) | {"id": pl.Int32}
        return pl.DataFrame(entries, schema=schema, orient="row")
