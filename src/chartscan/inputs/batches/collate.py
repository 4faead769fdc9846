"""Rows of a token store -> a Batch of tensors, padded at the right."""

from dataclasses import fields

import numpy as np
import torch
from numpy.typing import DTypeLike

from chartscan.batch import Batch, Prompts
from chartscan.inputs.batches.rows import Questions, Rows, taken
from chartscan.inputs.batches.store import TokenStore
from chartscan.inputs.tokens import Encoded, window

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
