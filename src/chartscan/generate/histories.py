"""Histories of a dataset for a forecasting model, at instants or cut short."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import torch

from chartscan import artifact as artifacts
from chartscan.artifact import Artifact
from chartscan.errors import ConfigError, DataError
from chartscan.generate import History, causal, history_of
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import (
    Coverage,
    Encoded,
    Timeline,
    check_coverage,
    coverage,
    fit_pace,
    summed,
    timelines,
    unknown_share,
    visible,
)
from chartscan.machine import keep_freed_memory
from chartscan.notes import Note, Notes
from chartscan.runs.job import Watcher, of_subjects
from chartscan.runs.seen import births_of, seen
from chartscan.schema import HELD_OUT, TRAIN, TUNING
from chartscan.store.dataset import Dataset

SPLITS = (HELD_OUT, TUNING, TRAIN)

# (subject, whole sequence, timeline) -> histories of that subject
Cutter = Callable[[int, Encoded, Timeline], list[History]]


def forecaster(
    path: Path,
    dataset: Dataset,
    threads: int,
    watcher: Watcher,
    pretrained_only: bool = False,
    device: str = "cpu",
) -> Artifact[TokenReader]:
    """Return the artifact at `path`, ready to forecast.

    Its pace is fitted on the dataset's train split if it has none, or has one of an earlier version that did
    not distinguish the ends of visits.

    ConfigError for an artifact that cannot forecast, and where `pretrained_only` for a fine-tuned one.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    found = artifacts.load(path, device)
    if found.network is None or found.network.model.INPUT != "tokens":
        raise ConfigError(
            f"{path} is no single model of event sequences and cannot forecast. Forecast with a pretrained "
            "ehrmamba."
        )
    single = cast(Artifact[TokenReader], found)
    causal(single)
    taught, pace = "head" in single.network.heads, single.reader.pace
    if taught and pretrained_only:
        raise ConfigError(
            f"{path} was fine-tuned, and its forecasts were not trained with it. Name a model that was only "
            "pretrained: chartscan train ... --set finetune=null"
        )
    if taught:
        text = (
            f"{path} was fine-tuned, and its forecasts were not trained with it. Forecast with a model "
            "that is pretrained only."
        )
        watcher.note(Note("forecasts_untaught", text))
    if pace is not None and pace.waits is not None:
        return single
    lacks = "how records move on" if pace is None else "how soon a visit follows each kind of end"
    watcher.say(f"{path} does not know {lacks}: learned from the train split of {dataset.path}")
    pace = fit_pace(train_sequences(single, dataset, watcher), len(single.reader.vocabulary))
    return replace(single, reader=replace(single.reader, pace=pace))


def train_sequences(artifact: Artifact[TokenReader], dataset: Dataset, watcher: Watcher) -> list[Encoded]:
    """The tokens of every train subject."""
    return [whole for _, whole, _ in sequences(artifact, dataset, dataset.subject_ids(TRAIN), watcher)]


def subjects_of(artifact: Artifact[TokenReader], dataset: Dataset, split: str) -> np.ndarray:
    """Ids of the subjects of a split; ConfigError where held-out ones were used in training."""
    if split not in SPLITS:
        raise ConfigError(f"--split {split}: expected one of {', '.join(SPLITS)}.")
    ids = dataset.subject_ids(split)
    if split == HELD_OUT:
        check_unseen(artifact, dataset, ids)
    return ids


def check_unseen(artifact: Artifact[TokenReader], dataset: Dataset, held_out: np.ndarray) -> None:
    """ConfigError where held-out subjects were used in training."""
    known = seen(artifact.run, held_out, births_of(dataset, held_out))
    if known:
        raise ConfigError(
            f"{known} of {len(held_out)} held-out subjects of this dataset were used to train the model, "
            "which has another split. Train it on this dataset."
        )


def histories(
    artifact: Artifact[TokenReader],
    dataset: Dataset,
    subjects: np.ndarray,
    cutter: Cutter,
    watcher: Watcher,
    notes: Notes,
) -> list[History]:
    """The histories that `cutter` makes of each of `subjects`; DataError where there are none."""
    found = []
    for subject, whole, line in sequences(artifact, dataset, subjects, watcher, notes):
        found += cutter(subject, whole, line)
    if not found:
        raise DataError("No history to forecast from: no subject of the split has enough events.")
    return found


def at_the_end(artifact: Artifact[TokenReader]) -> Cutter:
    """Each subject's whole record, asked when its last event became known."""

    def cutter(subject: int, whole: Encoded, line: Timeline) -> list[History]:
        if not len(line.times):
            return []
        now = int(whole.known.view(np.int64)[-1])
        return [history_of(artifact, subject, whole, line, now)]

    return cutter


def at_questions(artifact: Artifact[TokenReader], questions: pa.Table) -> Cutter:
    """Return a cutter of what was known at each question, in order by subject."""
    ids = questions["subject_id"].to_numpy()
    instants = questions["prediction_time"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    times: dict[int, list[int]] = {}
    for subject, instant in zip(ids.tolist(), instants.tolist(), strict=True):
        times.setdefault(subject, []).append(instant)

    def cutter(subject: int, whole: Encoded, line: Timeline) -> list[History]:
        found = []
        for now in times.get(subject, []):
            end = visible(whole, np.int64(now).view("datetime64[us]"))
            found.append(history_of(artifact, subject, whole.prefix(end), line, now))
        return found

    return cutter


def sequences(
    artifact: Artifact[TokenReader],
    dataset: Dataset,
    subjects: np.ndarray,
    watcher: Watcher,
    notes: Notes | None = None,
) -> Iterator[tuple[int, Encoded, Timeline]]:
    """(subject, tokens, timeline) of each of `subjects`, shard by shard.

    DataError where more than a fifth of a shard's events are unknown to the vocabulary.
    """
    encoder, shards = artifact.reader.encoder, dataset.shards()
    counted: list[dict[str, Coverage]] = []
    with watcher.progress("Reading", "shards") as progress:
        for number, path in enumerate(shards):
            table = of_subjects(dataset.read_shard(path), subjects)
            if table.num_rows:
                counted.append(coverage(encoder, [table]))
                check_coverage(counted[-1], "records to forecast from")
                lines = timelines(table, encoder.config)
                for subject, whole in encoder.encode_shard(table):
                    yield subject, whole, lines[subject]
            progress(number + 1, len(shards))
    warning = unknown_share(summed(counted), "records to forecast from")
    if warning and notes is not None:
        notes.add("unknown_codes", warning)
