"""Vocabulary, bins and tokens of a dataset: what sequence models and the trees on counts both start from."""

from typing import Any

from chartscan.batches import TokenStore
from chartscan.recipes._job import Job, Watcher, split_tables
from chartscan.schema import HELD_OUT, TRAIN, TUNING
from chartscan.sequences import (
    Encoder,
    NumericBins,
    SequenceConfig,
    Vocabulary,
    coverage,
    fit_bins,
    fit_vocabulary,
)
from chartscan.store.dataset import Dataset


def fit_tokens(job: Job, config: SequenceConfig) -> tuple[Vocabulary, NumericBins]:
    """Bins and vocabulary of the train subjects, with a token for every task of the job.

    What a killed run has fitted is read again by `--resume`.
    """
    files = job.work / "vocabulary.json", job.work / "numeric.json"
    if job.resume and all(file.exists() for file in files):
        return Vocabulary.load(files[0]), NumericBins.load(files[1])
    with job.watcher.progress("Vocabulary", "passes") as progress:
        bins = fit_bins(split_tables(job.dataset, TRAIN), config)
        progress(1, 2)
        tables = split_tables(job.dataset, TRAIN)
        vocabulary = fit_vocabulary(tables, bins, config, job.tasks, job.dataset.fingerprint)
        progress(2, 2)
    job.work.mkdir(parents=True, exist_ok=True)
    vocabulary.save(files[0])
    bins.save(files[1])
    return vocabulary, bins


def token_store(dataset: Dataset, encoder: Encoder, split: str, watcher: Watcher) -> TokenStore:
    """Tokens of every subject of a split, in memory."""
    found = []
    shards = len(dataset.shards())
    with watcher.progress(f"Tokens of {split}", "shards") as progress:
        for number, table in enumerate(split_tables(dataset, split)):
            if table.num_rows:
                found += encoder.encode_shard(table)
            progress(number + 1, shards)
    return TokenStore.build(found)


def coverage_table(dataset: Dataset, encoder: Encoder) -> dict[str, dict[str, Any]]:
    """Events, unknown events and share of [UNK] per code system, by split."""
    splits = (TRAIN, TUNING, HELD_OUT)
    found = {split: coverage(encoder, split_tables(dataset, split)) for split in splits}
    return {
        split: {
            system: {"events": c.events, "unknown": c.unknown, "unknown_rate": c.unknown_rate}
            for system, c in by_system.items()
        }
        for split, by_system in found.items()
    }
