"""The vocabulary: which tokens exist, in which order, learned on train subjects alone.

Tokens in order: specials and intervals, tasks, then one per code by code string: `CODE//Q3` for a binned
number, `CODE//=POS` for a short text result, the bare `CODE` for everything else of that code. A bare code
that no training row needs is left out: results without a number, or in a unit never seen, are then [UNK],
which the coverage gate reports, and not a token whose meaning was never learned. The order is the same for
every order of shards and rows.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from chartscan import files
from chartscan.errors import ConfigError, DataError
from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.numeric import NO_GROUP, NumericBins
from chartscan.inputs.tokens.specials import SPECIALS, UNK, task_token_name
from chartscan.inputs.tokens.types import NO_TOKENS

TEXT_MARK = "="


class FitScope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the vocabulary and the bins were learned from."""

    split: str = "train"
    dataset: str = ""  # SHA-256 of the dataset's manifest
    subjects: int = 0
    events: int = 0


class Vocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Tokens by id, with counts of train subjects, and how they were made.

    `subjects` of a bare code counts all subjects with that code; of a special token it is 0.
    """

    tokens: tuple[str, ...]
    subjects: tuple[int, ...]
    tasks: dict[str, int]
    config: SequenceConfig
    scope: FitScope

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def codes(self) -> dict[str, int]:
        """Return the ids of event tokens, without codes spelled like special tokens."""
        tasks = set(self.tasks.values())
        return {t: i for i, t in enumerate(self.tokens) if i >= len(SPECIALS) and i not in tasks}

    def task_token(self, name: str) -> int:
        """Return the id of a task's token; ConfigError when it has none."""
        if name not in self.tasks:
            known = ", ".join(self.tasks) or "none"
            raise ConfigError(f"The vocabulary has no token for task '{name}'. Tasks in it: {known}.")
        return self.tasks[name]

    def with_tasks(self, names: Sequence[str]) -> "Vocabulary":
        """Return the vocabulary with missing task tokens appended; no id changes."""
        new = [name for name in dict.fromkeys(names) if name not in self.tasks]
        tasks = self.tasks | {name: len(self.tokens) + i for i, name in enumerate(new)}
        tokens = (*self.tokens, *map(task_token_name, new))
        subjects = (*self.subjects, *(0 for _ in new))
        return msgspec.structs.replace(self, tokens=tokens, subjects=subjects, tasks=tasks)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the vocabulary as saved."""
        return hashlib.sha256(self._json()).hexdigest()

    def _json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"

    def save(self, path: Path) -> None:
        """Write vocabulary.json."""
        files.write_bytes(path, self._json())

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read vocabulary.json; DataError when it is not one or contradicts itself."""
        found = files.read_json(path, cls, "a vocabulary")
        tasks_hold = all(found.tokens[i : i + 1] == (task_token_name(n),) for n, i in found.tasks.items())
        counts_hold = len(found.subjects) == len(found.tokens) == len(set(found.tokens))
        counts_hold &= min(found.subjects, default=0) >= 0
        if found.tokens[: len(SPECIALS)] != SPECIALS or not tasks_hold or not counts_hold:
            raise DataError(
                f"{path.name}: special tokens, tasks and counts do not agree; the file was changed."
            )
        return found


def fit_vocabulary(
    tables: Iterable[pa.Table],
    bins: NumericBins,
    config: SequenceConfig,
    tasks: Sequence[str] = (),
    dataset: str = "",
) -> Vocabulary:
    """Fit the vocabulary on EVENTS of train subjects, given shard by shard.

    A subject lies in one table. A token needs `config.min_subjects` subjects; rows of rarer ones become the
    bare code, if that has enough. `bins` come from the same subjects; `dataset` is the hash of the dataset's
    manifest.
    """
    counted = [_count_shard(table, bins, config) for table in tables]
    subjects, events = sum(s for s, *_ in counted), sum(e for _, e, *_ in counted)
    codes = _summed([code for *_, code, _ in counted])
    forms = _summed([form for *_, form in counted])
    kept = _kept_tokens(codes, forms, bins, config.min_subjects)
    task_names = [task_token_name(name) for name in dict.fromkeys(tasks)]
    names = [name for name in sorted(kept) if name not in {*SPECIALS, *task_names}]
    heads = (*SPECIALS, *task_names)
    return Vocabulary(
        tokens=(*heads, *names),
        subjects=(*(0 for _ in heads), *(kept[name] for name in names)),
        tasks={name: len(SPECIALS) + i for i, name in enumerate(dict.fromkeys(tasks))},
        config=config,
        scope=FitScope(dataset=dataset, subjects=subjects, events=events),
    )


def readings(vocabulary: Vocabulary, bins: NumericBins) -> list[list[int]]:
    """Return the bin token ids of each numeric code and unit in the vocabulary."""
    found = []
    for group, (code, _, _) in enumerate(bins.groups):
        names = [f"{code}//{bins.suffix(group, place)}" for place in range(bins.n_bins)]
        found.append([vocabulary.codes[name] for name in names if name in vocabulary.codes])
    return found


def text_result(config: SequenceConfig) -> pl.Expr:
    """The short text result of a row without number; null elsewhere."""
    text = pl.col("text_value").str.strip_chars()
    short = text.str.len_chars().is_between(1, config.max_text_length)
    numeric = pl.col("numeric_value").is_finite().fill_null(False)
    return pl.when(short & ~numeric).then(text).cast(pl.String)


def token_rows(frame: pl.DataFrame, config: SequenceConfig) -> pl.DataFrame:
    """Return which rows become tokens.

    All but births, deaths without a time (it is unknown from when they may be seen), and static facts where
    the settings leave them out.
    """
    undated_death = (pl.col("event_type") == "death") & pl.col("time").is_null()
    kept = ~pl.col("event_type").is_in(NO_TOKENS) & ~undated_death
    return frame.filter(kept if config.static_tokens else kept & pl.col("time").is_not_null())


def _count_shard(
    table: pa.Table, bins: NumericBins, config: SequenceConfig
) -> tuple[int, int, pl.DataFrame, pl.DataFrame]:
    """Subjects, events, subjects per code, subjects per form (code with bin or text) of one table."""
    columns = ["subject_id", "time", "code", "unit", "numeric_value", "text_value", "event_type"]
    whole = pl.from_arrow(table.select(columns).replace_schema_metadata())
    assert isinstance(whole, pl.DataFrame)
    rows = token_rows(whole, config)
    groups, places = bins.assign(rows)
    text = text_result(config).alias("text")
    rows = rows.select("subject_id", "code", text, group=pl.Series(groups), bin=pl.Series(places))
    distinct = rows.unique()
    per_code = distinct.group_by("code").agg(subjects=pl.col("subject_id").n_unique())
    per_form = distinct.group_by("code", "group", "bin", "text").agg(subjects=pl.len())
    return whole["subject_id"].n_unique(), len(rows), per_code, per_form


def _summed(parts: list[pl.DataFrame]) -> pl.DataFrame:
    if not parts:
        return pl.DataFrame()
    keys = [name for name in parts[0].columns if name != "subjects"]
    return pl.concat(parts).group_by(keys).agg(pl.col("subjects").sum())


def _kept_tokens(codes: pl.DataFrame, forms: pl.DataFrame, bins: NumericBins, least: int) -> dict[str, int]:
    """Subjects by token for the tokens with at least `least`; a bare code is kept if some row needs it."""
    kept: dict[str, int] = {}
    bare = set()
    for row in forms.iter_rows(named=True):
        form = None
        if row["group"] != NO_GROUP:
            form = bins.suffix(row["group"], row["bin"])
        elif row["text"] is not None:
            form = TEXT_MARK + row["text"]
        if form is None or row["subjects"] < least:
            bare.add(row["code"])
        else:
            kept[f"{row['code']}//{form}"] = row["subjects"]
    return kept | {code: n for code, n in codes.iter_rows() if n >= least and code in bare}


# The id of an event is that of its bin or text result if in the vocabulary, else of its code, else [UNK].


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
