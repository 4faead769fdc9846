"""Long records: AUROC, time and memory as the context grows, on simulated records with a known ceiling."""

import hashlib
import shutil
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from chartscan import files
from chartscan.console import Display
from chartscan.errors import ConfigError
from chartscan.evaluation.bootstrap import Answers
from chartscan.evaluation.evaluation import Sampling
from chartscan.evaluation.text import interval_text, number_text
from chartscan.models import hymate
from chartscan.training import TrainConfig
from chartscan_lab.bench.memory import in_fresh_process
from chartscan_lab.study._cells import Pace, Place
from chartscan_lab.study._length_run import HELD_OUT_FIRST, LengthResult, LengthRun, measure
from chartscan_lab.study._long_records import LongConfig, LongRecords, ceiling
from chartscan_lab.study._made_with import current, not_one_code
from chartscan_lab.study._report import Report
from chartscan_lab.study._rows import Row, chosen
from chartscan_lab.study._score import Answered, Repeat, RowScore, score
from chartscan_lab.tables import MIB, markdown_table

FULL = "full attention"
VARIANTS: dict[str, hymate.Config] = {
    FULL: hymate.Config(dropout=0.0),
    "causal attention to the latest 256": hymate.Config(dropout=0.0, causal=True, window=256),
    "no attention": hymate.Config(dropout=0.0, n_attention=0),
}
PLANTED = {
    "episode": "the level of a rare variable, measured in one short episode anywhere in the record,",
    "order": "which of two rare events, anywhere in the record, came last",
}
HEADINGS = (
    "model",
    "context",
    "seeds",
    "AUROC",
    "AUROC, mean over seeds [95 %]",
    "best possible",
    "s per epoch",
    "memory, MiB",
    "parameters",
)


class LengthCell(NamedTuple):
    """One training, and where its result is kept."""

    row: str
    run: LengthRun
    result: Path

    @property
    def folder(self) -> Path:
        """Checkpoints of a training under way."""
        return self.result.with_suffix(".work")


class Length(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which contexts and models; how many records, and how long they are trained on."""

    TITLE: ClassVar[str] = "Length: what a longer context gives and costs"
    SEEDS: ClassVar[int] = 3
    NEEDS_DATA: ClassVar[bool] = False
    SEVERAL_TASKS: ClassVar[bool] = False
    TRUTH: ClassVar[bool] = False

    records: LongConfig = LongConfig()
    contexts: tuple[int, ...] = (1024, 4096, 8192, 32_768)
    models: tuple[str, ...] = tuple(VARIANTS)
    full_attention_most: int = 8192  # its time grows with the square of the context
    train: int = 512
    held_out: int = 512
    batch_size: int = 2
    fit: TrainConfig = TrainConfig(learning_rate=2e-3, epochs=4, accumulate=4)

    def __post_init__(self) -> None:
        sizes = (*self.contexts, self.train, self.held_out, self.batch_size)
        if not self.contexts or min(sizes) < 1:
            raise ConfigError("contexts must hold at least one, and every size be at least 1.")
        unknown = sorted(set(self.models) - set(VARIANTS))
        if unknown:
            raise ConfigError(f"models: {', '.join(unknown)}; expected some of {', '.join(VARIANTS)}.")

    def run(self, place: Place) -> Report:
        """Trains what is not finished; the table is of every finished cell."""
        named = [Row(name=name, recipe="") for name in self.names()]
        wanted = {row.name for row in chosen(named, place.only)}
        cells = list(self.cells(place))
        for line in _not_one_code(cells, wanted):
            place.watcher.say(line)
        _run_cells([cell for cell in cells if cell.row in wanted], place)
        return self.report(cells, place)

    def names(self) -> list[str]:
        """Rows, in order."""
        return [_name(model, context) for model in self.models for context in self._contexts(model)]

    def cells(self, place: Place) -> Iterator[LengthCell]:
        """Every cell, seed by seed, short contexts first."""
        for seed in range(place.seeds):
            for context in sorted(self.contexts):
                for model in self.models:
                    if context in self._contexts(model):
                        run = self._run(model, context, seed)
                        yield LengthCell(_name(model, context), run, _path(place.out, run))

    def report(self, cells: list[LengthCell], place: Place) -> Report:
        """One row a model and context."""
        rows, values = [], []
        for name in self.names():
            found = [
                (cell, _read(cell.result)) for cell in cells if cell.row == name and cell.result.exists()
            ]
            if found:
                line, value = self._row(name, found, place)
                rows.append(line)
                values.append(value)
        text = [f"# {self.TITLE}", self._about(), markdown_table(HEADINGS, rows), self._caption(place)]
        return Report(
            "\n\n".join([*text, *_not_one_code(cells, ())]) + "\n",
            {"settings": msgspec.to_builtins(self), "rows": values},
        )

    def _contexts(self, model: str) -> list[int]:
        most = self.full_attention_most if model == FULL else max(self.contexts)
        return [context for context in self.contexts if context <= most]

    def _run(self, model: str, context: int, seed: int) -> LengthRun:
        return LengthRun(
            model=VARIANTS[model],
            records=self.records,
            context=context,
            train=self.train,
            held_out=self.held_out,
            batch_size=self.batch_size,
            fit=msgspec.structs.replace(self.fit, seed=seed),
            seed=seed,
        )

    def _row(
        self, name: str, found: list[tuple[LengthCell, LengthResult]], place: Place
    ) -> tuple[list[str], dict[str, Any]]:
        runs, results = [cell.run for cell, _ in found], [result for _, result in found]
        scores = _scores(name, runs, results, place)
        best = float(np.mean([_ceiling(run) for run in runs]))
        facts = {
            "context": runs[0].context,
            "best_possible_auroc": best,
            "extra_bytes": max(result.extra_bytes for result in results),
        }
        mean, sd = scores.spread["auroc"].mean, scores.spread["auroc"].sd
        line = [
            name.rpartition(", ")[0],
            f"{runs[0].context:,}",
            str(len(runs)),
            number_text(mean) + ("" if sd is None else f" ± {sd:.3f}"),
            interval_text(scores.together["auroc"]),
            number_text(best),
            f"{scores.seconds_per_epoch['training']:.1f}",
            f"{facts['extra_bytes'] / MIB:,.0f}",
            f"{results[0].parameters:,}",
        ]
        return line, msgspec.to_builtins(scores) | facts

    def _about(self) -> str:
        low, high = self.records.low, self.records.high
        return (
            f"Simulated records of {self.records.events:,} events; {PLANTED[self.records.signal]} "
            f"decides the risk ({low:g} or {high:g}). A model sees the latest events only, as many as its "
            "context. The best possible AUROC is that of the true risk given what is seen."
        )

    def _caption(self, place: Place) -> str:
        return (
            f"{self.train:,} records to learn from, {self.held_out:,} held out, drawn anew for each seed; "
            f"{self.fit.epochs} epochs, {self.batch_size} records in memory at a time. Mean ± SD is over "
            f"seeds, the interval of their mean a bootstrap over records ({place.replicates:,} resamples). "
            f"Memory is the most above that before training; {place.threads} threads. Full attention is not "
            f"run beyond a context of {self.full_attention_most:,}."
        )


STUDY = Length()


def _run_cells(cells: list[LengthCell], place: Place) -> None:
    left = [cell for cell in cells if not cell.result.exists()]
    clock = Pace([cell.row for cell in left])
    quiet = isinstance(place.watcher, Display) and place.watcher.quiet
    for number, cell in enumerate(left):
        place.watcher.say(f"cell {number + 1} of {len(left)}: {cell.row}, seed {cell.run.seed}")
        if cell.folder.exists() and not place.resume:
            raise ConfigError(
                f"{cell.folder} holds an unfinished run. Go on with it: --resume, or choose another --out."
            )
        cell.folder.mkdir(parents=True, exist_ok=True)
        with clock.timed(cell.row) as seconds:
            arguments = (cell.run, cell.folder, place.resume, place.threads, quiet)
            files.write_bytes(cell.result, msgspec.json.encode(in_fresh_process(measure, *arguments)))
            shutil.rmtree(cell.folder)
        place.watcher.say(f"  finished in {seconds[0]:,.0f} s{clock.time_left()}")


def _not_one_code(cells: list[LengthCell], wanted: Container[str]) -> list[str]:
    """A line where finished cells, and those of rows `wanted` that are to be made, are not of one code."""
    made = [(cell.row, [_read(cell.result).code]) for cell in cells if cell.result.exists()]
    left = [(cell.row, [current()]) for cell in cells if cell.row in wanted and not cell.result.exists()]
    mixed = not_one_code([*made, *left])
    return [mixed] if mixed else []


def _scores(name: str, runs: list[LengthRun], results: list[LengthResult], place: Place) -> RowScore:
    """As for other studies; the records of a seed are its own split."""
    repeats = [_repeat(run, result) for run, result in zip(runs, results, strict=True)]
    row = Answered(name, "length", [], True, repeats)
    return score(row, None, Sampling(place.replicates, 0))


def _repeat(run: LengthRun, result: LengthResult) -> Repeat:
    n = len(result.labels)
    keys = np.stack([np.arange(n) + run.seed * HELD_OUT_FIRST, np.zeros(n, np.int64)], 1)
    said = Answers(np.array(result.labels, bool), np.array(result.probabilities), None)
    facts = {
        "parameters": result.parameters,
        "seconds_per_epoch": {"training": result.seconds_per_epoch},
        "made_with": [msgspec.to_builtins(result.code)],
    }
    return Repeat(run.seed, keys, said, facts)


def _ceiling(run: LengthRun) -> float:
    return ceiling(LongRecords(run.records, run.seed, HELD_OUT_FIRST, run.held_out), run.context)


def _name(model: str, context: int) -> str:
    return f"{model}, {context}"


def _path(out: Path, run: LengthRun) -> Path:
    digest = hashlib.sha256(msgspec.json.encode(run)).hexdigest()[:12]
    return out / "length" / f"{run.context}-{run.seed}-{digest}.json"


def _read(path: Path) -> LengthResult:
    return msgspec.json.decode(path.read_bytes(), type=LengthResult)
