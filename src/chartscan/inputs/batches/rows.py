"""Rows of tokens: kept, drawn in batches, and put together as tensors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import DTypeLike

from chartscan.batch import Batch, Prompts
from chartscan.errors import DataError
from chartscan.inputs.tokens import Encoded, Vocabulary, cut, visible, window
from chartscan.inputs.tokens.encoded import DTYPES


@dataclass(frozen=True)
class TokenStore:
    """Tokens of S subjects, one after the other: about 29 bytes a token."""

    subject_ids: np.ndarray  # (S,) int64, ascending
    bounds: np.ndarray  # (S + 1,) int64, where each subject's tokens begin
    tokens: Encoded  # (tokens,)

    @classmethod
    def build(cls, encoded: Iterable[tuple[int, Encoded]]) -> "TokenStore":
        """A store of (subject_id, tokens) in any order; DataError when a subject comes twice."""
        found = sorted(encoded, key=lambda item: item[0])
        ids = np.array([subject for subject, _ in found], dtype=np.int64)
        if len(np.unique(ids)) < len(ids):
            raise DataError("A subject came twice: every subject must lie in one file of the dataset.")
        lengths = [tokens.n for _, tokens in found]
        names = [f.name for f in fields(Encoded)]
        parts = [[getattr(tokens, name) for _, tokens in found] for name in names]
        bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        return cls(ids, bounds, Encoded(*(_joined(*named) for named in zip(names, parts, strict=True))))

    def __len__(self) -> int:
        return len(self.subject_ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each subject (S,)."""
        return np.diff(self.bounds)

    def __getitem__(self, index: int) -> Encoded:
        """Tokens of the subject at `index` of `subject_ids`, as views."""
        a, b = self.bounds[index], self.bounds[index + 1]
        return Encoded(*(getattr(self.tokens, f.name)[a:b] for f in fields(Encoded)))

    def index_of(self, subject_ids: np.ndarray) -> np.ndarray:
        """Return the indices of subjects; DataError says how many are missing."""
        index = np.searchsorted(self.subject_ids, subject_ids)
        index = np.minimum(index, max(len(self) - 1, 0))
        missing = len(self) == 0 or self.subject_ids[index] != subject_ids
        if np.any(missing) and len(subject_ids):
            count = int(np.sum(missing)) if len(self) else len(subject_ids)
            raise DataError(f"Labels: {count} of {len(subject_ids)} belong to subjects without events here.")
        return index


def _joined(name: str, parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.array([], dtype=DTYPES[name])


# Batches of rows of similar length. Seed, epoch and batch number decide each, so resuming needs only those.

JITTER = 0.05  # lengths are sorted up to this much, so that epochs mix rows differently
PADDING = 0.1  # a batch whose padding would exceed this share of it ends early,
LEAST = 0.25  # once it has this share of its tokens: few rows of unlike length fill no batch well


@dataclass(frozen=True)
class Sampler:
    """Batches of at most `tokens_per_batch` tokens, padding included; longer rows go alone."""

    lengths: np.ndarray  # (R,) int64
    tokens_per_batch: int
    seed: int = 0

    def epoch(self, number: int) -> list[np.ndarray]:
        """Row indices of each batch of an epoch; every row once."""
        random = np.random.default_rng([self.seed, number])
        blurred = self.lengths * (1 + JITTER * random.random(len(self.lengths)))
        batches = self._packed(np.argsort(blurred, kind="stable"))
        return [batches[i] for i in random.permutation(len(batches))]

    def in_order(self) -> list[np.ndarray]:
        """Batches from the shortest rows to the longest, for prediction."""
        return self._packed(np.argsort(self.lengths, kind="stable"))

    def _packed(self, order: np.ndarray) -> list[np.ndarray]:
        """`order` cut into batches, each as many rows as fit and are of like length."""
        cuts, start, longest, filled = [], 0, 0, 0
        for place, length in enumerate(self.lengths[order].tolist()):
            positions = max(longest, length) * (place - start + 1)
            enough = longest * (place - start) >= LEAST * self.tokens_per_batch
            unlike = enough and filled + length < (1 - PADDING) * positions
            if place > start and (positions > self.tokens_per_batch or unlike):
                cuts.append(place)
                start, longest, filled = place, 0, 0
            longest, filled = max(longest, length), filled + length
        return np.split(order, cuts) if len(order) else []


def padding_share(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    """Share of the positions of `batches` that is padding."""
    filled = sum(int(lengths[batch].sum()) for batch in batches)
    positions = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    return 1 - filled / positions if positions else 0.0


# Rows: pretraining windows, and prompts after a visible history. A row is (subject, end), not yet copied.


@dataclass(frozen=True)
class Samples:
    """S questions: a subject, an instant, a task and, in training, its answer."""

    subject_ids: np.ndarray  # (S,) int64
    prediction_times: np.ndarray  # (S,) datetime64[us]
    tasks: np.ndarray  # (S,) int64, index into the list of tasks
    labels: np.ndarray  # (S,) float32; NaN where not known


@dataclass(frozen=True)
class Questions:
    """P prompts sorted by row; `samples` says which sample each one answers."""

    rows: np.ndarray  # (P,) int64
    positions: np.ndarray  # (P,) int64, the last visible token of the row
    codes: np.ndarray  # (P,) int64, task tokens
    tasks: np.ndarray  # (P,) int64
    labels: np.ndarray  # (P,) float32
    samples: np.ndarray  # (P,) int64, index into Samples


@dataclass(frozen=True)
class Rows:
    """R rows. `heads` replaces [CLS] where it is not 0 (task token at both ends)."""

    subjects: np.ndarray  # (R,) int64, index into the store
    ends: np.ndarray  # (R,) int64
    lengths: np.ndarray  # (R,) int64, tokens after cutting
    heads: np.ndarray  # (R,) int64
    context: int  # tokens a row may have
    questions: Questions | None = None

    def __len__(self) -> int:
        return len(self.subjects)


def samples_of(labels: Mapping[str, pa.Table], tasks: Sequence[str]) -> Samples:
    """Return the LABELS of each task as samples, in task and row order.

    Tables without `boolean_value` ask without knowing the answer.
    """
    parts = [_task_samples(labels[name], index) for index, name in enumerate(tasks)]
    if not parts:
        return Samples(*(np.array([], dtype=t) for t in (np.int64, "datetime64[us]", np.int64, np.float32)))
    return Samples(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Samples)))


def pretraining_windows(store: TokenStore, context: int) -> Rows:
    """Return windows over every subject, so that each token is in one window.

    Windows are cut from the last token back. Only [CLS], static facts and a prepended [VS] repeat. Subjects
    without any event have no row.
    """
    found: list[tuple[int, int, int]] = []
    for index in range(len(store)):
        types = store[index].types
        end, windows = len(types), []
        while True:
            kept = cut(types, end, context)
            if kept.end > kept.start:
                windows.append((index, end, kept.length))
            if kept.start <= 1 + kept.statics:
                break
            end = kept.start
        found += reversed(windows)
    subjects, ends, lengths = np.array(found, dtype=np.int64).reshape(-1, 3).T
    return Rows(subjects, ends, lengths, np.zeros_like(ends), context)


def prompt_rows(
    store: TokenStore,
    samples: Samples,
    vocabulary: Vocabulary,
    tasks: Sequence[str],
    apart: bool = False,
) -> Rows:
    """Rows that answer `samples`, each prompt seeing what was known at its prediction time.

    Rows leave room for the task token. With the task token at the end, all samples of a subject whose
    history fits share one row, the longest; longer histories get a window of their own, shared by samples
    of one instant. With the token at both ends (`config.task_token_placement`), each sample has its row; so
    too where samples are kept `apart`, for models that make a pass for each prompt.
    """
    context = vocabulary.config.context - 1
    both = vocabulary.config.task_token_placement == "both"
    subjects = store.index_of(samples.subject_ids)
    ends = _visible_counts(store, subjects, samples.prediction_times)
    codes = np.array([vocabulary.task_token(name) for name in tasks], dtype=np.int64)[samples.tasks]
    alone = both or apart
    row_ends = ends if alone else np.where(ends <= context, _longest(subjects, ends, context), ends)
    own = np.arange(len(ends)) if alone else np.zeros_like(ends)
    keys, row = np.unique(np.stack([subjects, row_ends, own]), axis=1, return_inverse=True)
    row = row.reshape(-1)
    lengths = _lengths(store, keys[0], keys[1], context)
    order = np.lexsort((np.arange(len(row)), ends, row))
    questions = Questions(
        rows=row[order],
        positions=np.where(ends <= context, ends, lengths[row])[order] - 1,
        codes=codes[order],
        tasks=samples.tasks[order].astype(np.int64),
        labels=samples.labels[order].astype(np.float32),
        samples=order,
    )
    heads = np.zeros(len(lengths), dtype=np.int64)
    if both:
        heads[questions.rows] = questions.codes
    return Rows(keys[0], keys[1], lengths, heads, context, questions)


def cut_histories(store: TokenStore, samples: Samples, vocabulary: Vocabulary) -> np.ndarray:
    """Whether each sample's row lacks the oldest events of its visible history (S,)."""
    ends = _visible_counts(store, store.index_of(samples.subject_ids), samples.prediction_times)
    return ends > vocabulary.config.context - 1  # as in `prompt_rows`


def taken(questions: Questions, indices: np.ndarray) -> Questions:
    """The questions of the rows `indices`, their rows numbered by place in `indices`."""
    starts = np.searchsorted(questions.rows, indices, side="left")
    counts = np.searchsorted(questions.rows, indices, side="right") - starts
    where = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    kept = Questions(*(getattr(questions, f.name)[where] for f in fields(Questions)))
    return replace(kept, rows=np.repeat(np.arange(len(indices)), counts))


def _task_samples(table: pa.Table, task: int) -> Samples:
    n = table.num_rows
    labels = np.full(n, np.nan, dtype=np.float32)
    if "boolean_value" in table.column_names:
        labels = table["boolean_value"].cast(pa.float32()).to_numpy().astype(np.float32)
    times = table["prediction_time"].cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
    return Samples(table["subject_id"].to_numpy(), times, np.full(n, task, dtype=np.int64), labels)


def _visible_counts(store: TokenStore, subjects: np.ndarray, times: np.ndarray) -> np.ndarray:
    found = [visible(store[s], t) for s, t in zip(subjects.tolist(), times, strict=True)]
    return np.array(found, dtype=np.int64)


def _longest(subjects: np.ndarray, ends: np.ndarray, context: int) -> np.ndarray:
    """The longest history of each sample's subject among those that fit."""
    longest = np.zeros(subjects.max(initial=-1) + 1, dtype=np.int64)
    np.maximum.at(longest, subjects, np.where(ends <= context, ends, 0))
    return longest[subjects]


def _lengths(store: TokenStore, subjects: np.ndarray, ends: np.ndarray, context: int) -> np.ndarray:
    found = [cut(store[s].types, e, context).length for s, e in zip(subjects.tolist(), ends, strict=True)]
    return np.array(found, dtype=np.int64)


_DTYPES: dict[str, DTypeLike] = {
    "codes": np.int64,
    "types": np.int64,
    "ages": np.float32,
    "times": np.float32,
    "gaps": np.float32,
    "segments": np.int64,
    "visit_orders": np.int64,
    "attributed": np.bool_,
}


def collate(store: TokenStore, rows: Rows, indices: np.ndarray) -> Batch:
    """The rows `indices` as one batch; their prompts too, sorted by row (see `samples_in`)."""
    windows = [_row(store, rows, index) for index in indices.tolist()]
    prompts = None if rows.questions is None else _prompts(taken(rows.questions, indices))
    return batch_of(windows, prompts)


def samples_in(rows: Rows, indices: np.ndarray) -> np.ndarray:
    """Which sample each prompt of `collate(store, rows, indices)` answers (P,)."""
    if rows.questions is None:
        return np.array([], dtype=np.int64)
    return taken(rows.questions, indices).samples


def batch_of(sequences: list[Encoded], prompts: Prompts | None = None) -> Batch:
    """Sequences as one batch, padded with zeros to the longest."""
    lengths = np.array([sequence.n for sequence in sequences], dtype=np.int64)
    shape = len(sequences), int(lengths.max(initial=0))
    inside = np.arange(shape[1]) < lengths[:, None]  # (B, L)
    columns: dict[str, torch.Tensor] = {}
    for name, dtype in _DTYPES.items():
        column: np.ndarray = np.zeros(shape, dtype=dtype)
        column[inside] = np.concatenate([getattr(sequence, name) for sequence in sequences])
        columns[name] = torch.from_numpy(column)
    positions = torch.from_numpy(np.where(inside, np.arange(shape[1]), 0))
    return Batch(**columns, positions=positions, lengths=torch.from_numpy(lengths), prompts=prompts)


def _row(store: TokenStore, rows: Rows, index: int) -> Encoded:
    found = window(store[int(rows.subjects[index])], int(rows.ends[index]), rows.context)
    if not rows.heads[index]:
        return found
    codes = found.codes.copy()
    codes[0] = rows.heads[index]
    return Encoded(codes, *(getattr(found, f.name) for f in fields(Encoded)[1:]))


def _prompts(questions: Questions) -> Prompts:
    names = [f.name for f in fields(Prompts)]
    return Prompts(
        **{name: torch.from_numpy(np.ascontiguousarray(getattr(questions, name))) for name in names}
    )
