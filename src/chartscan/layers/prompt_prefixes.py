"""Prompts for models that read a whole row at once: each question's visible history as a row of its own.

A causal model answers many prompts from one pass over their row. Where every token sees every other, the task
token changes all of them, so that no two prompts can share anything: the pass is over as many rows as there
are prompts, and nothing that follows a prompt's position is in its row.
"""

from dataclasses import fields, replace

import torch
from torch import Tensor

from chartscan.batch import Batch, Prompts


def prompt_prefixes(batch: Batch, task_type: int) -> Batch:
    """P rows: tokens 0 .. position of the prompt's row, then its task token, padded to the longest.

    The task token has a code, the type `task_type` and a position, and no other attribute. Rows are not
    cut: whoever makes the batch leaves room for the task token in the model's context.
    """
    if batch.prompts is None:
        raise ValueError("the batch has no prompts")
    prompts = batch.prompts
    steps = torch.arange(int(prompts.positions.max()) + 2, device=prompts.positions.device)
    columns = {
        f.name: _prefixes(getattr(batch, f.name), prompts, steps)
        for f in fields(batch)
        if f.name not in ("lengths", "prompts")
    }
    task = steps == prompts.positions.unsqueeze(1) + 1  # (P, L)
    return replace(
        batch,
        **columns
        | {
            "codes": torch.where(task, prompts.codes.unsqueeze(1), columns["codes"]),
            "types": columns["types"].masked_fill(task, task_type),
            "positions": torch.where(task, steps, columns["positions"]),
        },
        lengths=prompts.positions + 2,
        prompts=None,
    )


def last_of_each(hidden: Tensor, batch: Batch) -> Tensor:
    """The hidden state (B, D) of each row's last token."""
    return hidden[torch.arange(len(hidden), device=hidden.device), batch.lengths - 1]


def _prefixes(column: Tensor, prompts: Prompts, steps: Tensor) -> Tensor:
    """(B, L) -> (P, steps): each prompt's row up to its position, zeros beyond."""
    visible = steps <= prompts.positions.unsqueeze(1)
    found = column[prompts.rows][:, : len(steps)]
    missing = len(steps) - found.shape[1]
    return torch.nn.functional.pad(found, (0, missing)) * visible
