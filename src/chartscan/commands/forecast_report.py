"""A report on forecasts of each record's last 10 tokens, beside baselines."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chartscan.artifact import Artifact
from chartscan.errors import ConfigError, DataError
from chartscan.evaluation import ForecastSet, NextTokens, evaluate_forecasts, write_forecast_report
from chartscan.evaluation.limitations import resample_notes
from chartscan.generate import History, Plan, generate, history_of
from chartscan.generate.histories import forecaster, sequences, subjects_of, train_sequences
from chartscan.generate.ngram import NGram, copied, fit_ngram, frequent, frequent_set, padded
from chartscan.inputs.batches import Sampler
from chartscan.inputs.batches.rows import batch_of
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import Encoded, Timeline, violations, window
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.pace import is_event
from chartscan.notes import Notes
from chartscan.runs.job import Watcher
from chartscan.runs.work import check_apart
from chartscan.schema import HELD_OUT
from chartscan.store.dataset import Dataset

LAST = 10  # tokens that are forecast
MOST = 60  # tokens generated for LAST events
TOKENS = 8192  # read together
VIEWS = ("all tokens", "events")  # with and without structural tokens

Tokens = NDArray[np.int64]
Record = tuple[int, Encoded, Timeline]


@dataclass(frozen=True)
class ForecastReportJob:
    """The arguments of the command."""

    artifact: Path
    dataset: Path
    out: Path
    split: str = HELD_OUT
    grammar: bool = False
    bootstrap: int = 1000
    seed: int = 0
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class _Cut:
    """Records cut before their last LAST tokens, or events."""

    view: str
    histories: list[History]
    before: list[Encoded]
    truth: Tokens  # (S, LAST)


def run_forecast_report(job: ForecastReportJob, watcher: Watcher) -> Path:
    """Write the report into `out` and return the path of the HTML file."""
    if job.out.exists() and not job.out.is_dir():
        raise ConfigError(f"--out {job.out} is a file; expected a folder.")
    check_apart(job.out, job.artifact, job.dataset)
    dataset = Dataset.open(job.dataset)
    model = forecaster(job.artifact, dataset, job.threads, watcher, device=job.device)
    notes = Notes(watcher.note)
    notes.extend(resample_notes(job.bootstrap))
    records = list(sequences(model, dataset, subjects_of(model, dataset, job.split), watcher, notes))
    train = train_sequences(model, dataset, watcher)
    ngram = fit_ngram(train, len(model.reader.vocabulary))
    sets, counted = [], {"tokens": 0, "out of order": 0}
    for view in VIEWS:
        cut = _cut(model, records, view)
        said, out_of_order = _said(model, cut, job.grammar, watcher)
        shares = frequent(train, view == "events", len(model.reader.vocabulary))
        sets.append(ForecastSet(view, cut.truth, {model.name: said} | _baselines(model, cut, ngram, shares)))
        counted = {name: counted[name] + out_of_order[name] for name in counted}
    table: Any = model.network.model
    found = evaluate_forecasts(
        sets,
        table.embedding.codes.weight.detach().double().cpu().numpy(),
        _next_tokens(model, records, watcher),
        counted,
        job.bootstrap,
        job.seed,
    )
    return write_forecast_report(found, job.out, "Forecasts of the last 10", _facts(job, dataset, notes))


def _facts(job: ForecastReportJob, dataset: Dataset, notes: Notes) -> dict[str, str]:
    return {
        "Model": job.artifact.resolve().name,
        "Dataset": f"{dataset.path.name}, {job.split}",
        "Data fingerprint": dataset.fingerprint[:12],
        "Tokens": "the likeliest each time" + (", masked by the grammar" if job.grammar else ""),
        "Bootstrap": f"{job.bootstrap:,} resamples, seed {job.seed}",
        "Notes": " ".join(note.text for note in notes) or "none",
    }


def _cut(model: Artifact[TokenReader], records: list[Record], view: str) -> _Cut:
    """Records that have LAST tokens of the view after at least one event."""
    histories, before, truth = [], [], []
    for subject, whole, line in records:
        shown = np.flatnonzero(is_event(whole.types)) if view == "events" else np.arange(whole.n)
        first_event = int(np.argmax(is_event(whole.types)))
        if len(shown) <= LAST or shown[-LAST] <= first_event:
            continue
        end = int(shown[-LAST])
        now = int(whole.known.view(np.int64)[end - 1])
        before.append(whole.prefix(end))
        histories.append(history_of(model, subject, before[-1], line, now))
        truth.append(whole.codes[shown[-LAST:]])
    if not truth:
        raise DataError(f"No record of the split has more than {LAST} {view}.")
    return _Cut(view, histories, before, np.array(truth, dtype=np.int64))


def _said(
    model: Artifact[TokenReader], cut: _Cut, grammar: bool, watcher: Watcher
) -> tuple[Tokens, dict[str, int]]:
    """The model's likeliest tokens (S, LAST), and how many of all it said were out of order."""
    events = LAST if cut.view == "events" else None
    plan = Plan(
        tokens=MOST if events else LAST, events=events, temperature=0, until_death=False, grammar=grammar
    )
    said = np.full(cut.truth.shape, -1, dtype=np.int64)
    counted = {"tokens": 0, "out of order": 0}
    with watcher.progress(f"Forecasting {cut.view}", "histories") as progress:
        for future in generate(model, cut.histories, plan, progress):
            kept = is_event(future.types) if events else np.ones(len(future.types), dtype=bool)
            said[future.history] = padded(future.codes[kept].astype(np.int64), LAST)
            counted["tokens"] += len(future.codes)
            counted["out of order"] += violations(future.types, cut.histories[future.history].grammar)
    return said, counted


def _baselines(
    model: Artifact[TokenReader], cut: _Cut, ngram: NGram, shares: NDArray[np.float64]
) -> dict[str, Tokens]:
    assert model.reader.pace is not None
    events = cut.view == "events"
    an_event = is_event(np.array(model.reader.pace.types))
    copies, grams = [], []
    for before in cut.before:
        history = before.codes.astype(np.int64)
        copies.append(copied(history[is_event(before.types)] if events else history, LAST))
        most = MOST if events else LAST
        grams.append(ngram.forecast(history, LAST, lambda code: bool(an_event[code]) or not events, most))
    rows = (len(cut.before), LAST)
    return {
        "n-gram": np.array(grams),
        "copy of the last 10": np.array(copies),
        "most frequent": np.full(rows, shares.argmax(), dtype=np.int64),
        "frequent set": np.broadcast_to(frequent_set(shares, LAST), rows),
    }


@torch.no_grad()
def _next_tokens(model: Artifact[TokenReader], records: list[Record], watcher: Watcher) -> NextTokens:
    """The likeliest next token everywhere in the records' last windows, static facts left out."""
    windows = [window(whole, whole.n, model.reader.vocabulary.config.context) for _, whole, _ in records]
    lengths = np.array([w.n for w in windows])
    trunk: Any = model.network.model
    head: Any = model.network.heads["forecast"]
    device = next(trunk.parameters()).device
    found: list[tuple[NDArray[Any], ...]] = []
    with watcher.progress("Next tokens", "batches") as progress:
        batches = Sampler(lengths, TOKENS).in_order()
        for number, indices in enumerate(batches):
            batch = batch_of([windows[i] for i in indices]).to(device)
            best = torch.softmax(head(trunk.forward(batch)[:, :-1]), -1).max(-1)  # (B, L - 1)
            asked = (batch.types[:, 1:] != T.STATIC) & (batch.codes[:, 1:] > 0)
            came = best.indices == batch.codes[:, 1:]
            rows = torch.from_numpy(indices).to(device).unsqueeze(1).expand(asked.shape)
            columns = rows[asked], best.values[asked].double(), came[asked]
            found.append(tuple(column.cpu().numpy() for column in columns))
            progress(number + 1, len(batches))
    return NextTokens(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def report_lines(path: Path) -> Iterator[str]:
    """Yield the text of the report and the path of the HTML file."""
    yield (path.with_name("forecasts.md")).read_text(encoding="utf-8")
    yield str(path)
