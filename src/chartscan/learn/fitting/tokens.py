"""Tokens of a run's subjects: fitted, stored, and what the context cuts off."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from chartscan.inputs.batches import TokenStore
from chartscan.inputs.tokens import (
    Coverage,
    Encoder,
    NumericBins,
    SequenceConfig,
    Vocabulary,
    check_coverage,
    coverage,
    fit_bins,
    fit_vocabulary,
    unknown_share,
)
from chartscan.notes import Note
from chartscan.prediction import cut_note
from chartscan.runs.job import Job
from chartscan.schema import HELD_OUT, TRAIN, TUNING

# Train histories that are longer than what a network sees at once.


def cut_notes(tasks: Sequence[str], task_of: np.ndarray, cut: np.ndarray) -> list[Note]:
    """A note on each task with train histories that are `cut` (S,); `task_of` (S,) is their task."""
    found = []
    for index, task in enumerate(tasks):
        rows = cut[task_of == index]
        if rows.any():
            found.append(cut_note(task, int(rows.sum()), len(rows), "train histories"))
    return found


# Vocabulary, bins and tokens of a dataset: what sequence models and the trees on counts both start from.

OTHER = "other"


def fit_tokens(job: Job, config: SequenceConfig) -> tuple[Vocabulary, NumericBins]:
    """Bins and vocabulary of the train subjects, with a token for every task of the job.

    What a killed run has fitted is read again by `--resume`.
    """
    files = job.work / "vocabulary.json", job.work / "numeric.json"
    if job.resume and all(file.exists() for file in files):
        return Vocabulary.load(files[0]), NumericBins.load(files[1])
    with job.watcher.progress("Vocabulary", "passes") as progress:
        bins = fit_bins(job.tables(TRAIN), config)
        progress(1, 2)
        vocabulary = fit_vocabulary(job.tables(TRAIN), bins, config, job.tasks, job.dataset.fingerprint)
        progress(2, 2)
    job.work.mkdir(parents=True, exist_ok=True)
    vocabulary.save(files[0])
    bins.save(files[1])
    return vocabulary, bins


def token_store(job: Job, encoder: Encoder, split: str) -> TokenStore:
    """Tokens of every subject of a split, in memory."""
    found = []
    shards = len(job.dataset.shards())
    with job.watcher.progress(f"Tokens of {split}", "shards") as progress:
        for number, table in enumerate(job.tables(split)):
            if table.num_rows:
                found += encoder.encode_shard(table)
            progress(number + 1, shards)
    return TokenStore.build(found)


def coverage_table(job: Job, encoder: Encoder, refuse: bool = False) -> dict[str, dict[str, Any]]:
    """Events, unknown events and share of [UNK] per code system, by split.

    Notes a split of which more than 5 % is unknown; DataError where `refuse` and train lacks more than 20 %:
    the vocabulary is then one of other records. Systems without a token in the vocabulary are "other": the
    name of a system that few patients have may tell who they are.
    """
    known = {token.partition("//")[0] for token in encoder.vocabulary.codes}
    found: dict[str, dict[str, Any]] = {}
    for split in (TRAIN, TUNING, HELD_OUT):
        sums: dict[str, list[int]] = {}
        counted = coverage(encoder, job.tables(split))
        _note_unknown(job, split, counted, refuse and split == TRAIN)
        for system, c in counted.items():
            before = sums.get(system if system in known else OTHER, [0, 0])
            sums[system if system in known else OTHER] = [before[0] + c.events, before[1] + c.unknown]
        found[split] = {
            system: {"events": events, "unknown": unknown, "unknown_rate": unknown / max(events, 1)}
            for system, (events, unknown) in sorted(sums.items())
        }
    return found


def _note_unknown(job: Job, split: str, counted: dict[str, Coverage], refuse: bool) -> None:
    name = f"records of {split}"
    warning = check_coverage(counted, name) if refuse else unknown_share(counted, name)
    if warning:
        job.notes.add("unknown_codes", warning)
