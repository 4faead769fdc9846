"""The vocabulary: which tokens exist, in which order, learned on train subjects alone.

Tokens in order: specials and intervals, tasks, then one per code by code string: `CODE//Q3` for a binned
number, `CODE//=POS` for a short text result, the bare `CODE` for everything else of that code. A bare code
that no training row needs is left out: results without a number, or in a unit never seen, are then [UNK],
which the coverage gate reports, and not a token whose meaning was never learned. The order is the same for
every order of shards and rows.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import polars as pl
import pyarrow as pa

from chartscan import files
from chartscan.errors import ConfigError, DataError
from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.numeric import NO_GROUP, NumericBins
from chartscan.inputs.tokens.specials import SPECIALS, task_token_name
from chartscan.inputs.tokens.types import NO_TOKENS

TEXT_MARK = "="


class FitScope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the vocabulary and the bins were learned from."""

    split: str = "train"
    dataset: str = ""  # SHA-256 of the dataset's manifest
    subjects: int = 0
    events: int = 0


class Vocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Tokens by id, the number of train subjects each was learned from, and how they were made.

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
        """Ids of the tokens that stand for events; a code spelled like a special token is none of them."""
        tasks = set(self.tasks.values())
        return {t: i for i, t in enumerate(self.tokens) if i >= len(SPECIALS) and i not in tasks}

    def task_token(self, name: str) -> int:
        """Id of the token that asks for the task `name`; ConfigError when the vocabulary has none."""
        if name not in self.tasks:
            known = ", ".join(self.tasks) or "none"
            raise ConfigError(f"The vocabulary has no token for task '{name}'. Tasks in it: {known}.")
        return self.tasks[name]

    def with_tasks(self, names: Sequence[str]) -> "Vocabulary":
        """The vocabulary with tokens for the tasks it lacks, added at the end: no id changes."""
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
    """The vocabulary of the EVENTS of train subjects, given shard by shard (a subject lies in one table).

    A token needs `config.min_subjects` subjects; rows of rarer ones become the bare code, if that has
    enough. `bins` come from the same subjects; `dataset` is the hash of the dataset's manifest.
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
    """Of each numeric code and unit the ids of its tokens, one a bin, as far as the vocabulary has them."""
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
    """Rows that become tokens: all but births, deaths without a time (nobody knows from when they may be
    seen), and static facts where the settings leave them out."""
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
