"""Random batches that look like tokenised records, and the operations that tests apply to them."""

from dataclasses import fields, replace

import torch

from chartscan.batch import PAD, Batch, Prompts

VOCAB_SIZE, N_TYPES = 50, 24


def random_batch(lengths=(12, 7, 9), seed=0, vocab_size=VOCAB_SIZE):
    """Rows of the given lengths; ages, times and gaps of the usual sizes; every third token unattributed."""
    g = torch.Generator().manual_seed(seed)
    rows, longest = len(lengths), max(lengths)
    real = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)

    def integers(low, high):
        return torch.randint(low, high, (rows, longest), generator=g) * real

    gaps = torch.rand(rows, longest, generator=g) * 5 * real
    return Batch(
        codes=integers(1, vocab_size),
        types=integers(1, N_TYPES),
        ages=(30 + 60 * torch.rand(rows, 1, generator=g)) * real,
        times=gaps.cumsum(1) * real,
        gaps=gaps,
        segments=integers(1, 3),
        visit_orders=integers(1, 9),
        positions=torch.arange(longest).expand(rows, longest) * real,
        attributed=(torch.rand(rows, longest, generator=g) < 0.7) & real,
        lengths=torch.tensor(lengths),
    )


def tensors(batch):
    """The (B, L) tensors of a batch by name."""
    return {f.name: getattr(batch, f.name) for f in fields(batch) if f.name not in ("lengths", "prompts")}


def rows_and_steps(batch, rows=slice(None), steps=slice(None)):
    """A part of a batch, without prompts; the lengths are cut accordingly."""
    cut = {name: t[rows, steps] for name, t in tensors(batch).items()}
    start, stop, _ = steps.indices(batch.codes.shape[1])
    return Batch(**cut, lengths=(batch.lengths[rows].clamp(max=stop) - start).clamp(min=0))


def with_padding(batch, more):
    """The same rows with `more` further steps of padding."""
    rows = len(batch.lengths)
    longer = {n: torch.cat([t, t.new_full((rows, more), PAD)], 1) for n, t in tensors(batch).items()}
    return replace(batch, **longer)


def with_token(batch, row, position, code, task_type):
    """Row `row` up to and including `position`, then the task token `code` without attributes."""
    prefix = rows_and_steps(batch, slice(row, row + 1), slice(0, position + 1))
    token = {name: t.new_zeros(1, 1) for name, t in tensors(prefix).items()}
    token["codes"], token["types"] = torch.tensor([[code]]), torch.tensor([[task_type]])
    token["positions"] = torch.tensor([[position + 1]])
    joined = {n: torch.cat([t, token[n]], 1) for n, t in tensors(prefix).items()}
    return Batch(**joined, lengths=torch.tensor([position + 2]))


def some_prompts():
    """Prompts on the rows of `random_batch()`: first and last positions, several at one position."""
    return Prompts(
        rows=torch.tensor([0, 2, 0, 1, 0, 2]),
        positions=torch.tensor([11, 1, 4, 6, 4, 0]),
        codes=torch.tensor([40, 41, 42, 40, 43, 40]),
        tasks=torch.tensor([0, 1, 2, 0, 3, 0]),
        labels=torch.tensor([1.0, 0.0, 1.0, float("nan"), 0.0, 1.0]),
    )
