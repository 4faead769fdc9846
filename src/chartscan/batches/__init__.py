"""Tokens -> batches: a store of a split's tokens, the rows to show, and which rows go together."""

from chartscan.batches.collate import batch_of, collate, samples_in
from chartscan.batches.rows import (
    Questions,
    Rows,
    Samples,
    cut_histories,
    pretraining_windows,
    prompt_rows,
    samples_of,
)
from chartscan.batches.sampler import Sampler, padding_share
from chartscan.batches.store import TokenStore

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
