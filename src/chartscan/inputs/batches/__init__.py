"""Tokens -> batches: a token store, the rows, and how to group them."""

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
