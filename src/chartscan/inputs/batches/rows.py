"""Which tokens form the rows that a model sees: pretraining windows, and prompts after a visible history.

A row is (subject, end): the window of the subject's first `end` tokens. Nothing is copied before collation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa

from chartscan.inputs.batches.store import TokenStore
from chartscan.inputs.tokens import Vocabulary, cut, visible


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
    """The LABELS of each task as samples, in the order of `tasks` and then of the rows.

    Tables without `boolean_value` ask without knowing the answer.
    """
    parts = [_task_samples(labels[name], index) for index, name in enumerate(tasks)]
    if not parts:
        return Samples(*(np.array([], dtype=t) for t in (np.int64, "datetime64[us]", np.int64, np.float32)))
    return Samples(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Samples)))


def pretraining_windows(store: TokenStore, context: int) -> Rows:
    """Every subject cut into windows, from the last token back, so that each token is in one window.

    Only [CLS], static facts and a prepended [VS] repeat. Subjects without any event have no row.
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
    too where samples are kept `apart`, for models that make a pass for each prompt whatever the row.
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
    """Whether the visible history of each sample (S,) is longer than a row, which lacks its oldest events."""
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
