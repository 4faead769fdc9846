"""Tokens -> batches: a store of a split's tokens, the rows to show, and which rows go together."""

from chartscan.inputs.batches.rows import (
    Questions,
    Rows,
    Sampler,
    Samples,
    TokenStore,
    batch_of,
    collate,
    cut_histories,
    padding_share,
    pretraining_windows,
    prompt_rows,
    samples_in,
    samples_of,
)

__all__ = [
    "Questions",
    "Rows",
    "Sampler",
    "Samples",
    "TokenStore",
    "batch_of",
    "collate",
    "cut_histories",
    "padding_share",
    "pretraining_windows",
    "prompt_rows",
    "samples_in",
    "samples_of",
]
