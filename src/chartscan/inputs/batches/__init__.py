"""Tokens -> batches: a store of a split's tokens, the rows to show, and which rows go together."""

from chartscan.inputs.batches.collate import batch_of, collate, samples_in
from chartscan.inputs.batches.rows import (
    Questions,
    Rows,
    Samples,
    cut_histories,
    pretraining_windows,
    prompt_rows,
    samples_of,
)
from chartscan.inputs.batches.sampler import Sampler, padding_share
from chartscan.inputs.batches.store import TokenStore

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
