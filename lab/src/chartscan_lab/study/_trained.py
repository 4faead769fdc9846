"""Studies that are tables of trained recipes: their rows are all that a study's file has to say."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import msgspec

import chartscan
from chartscan.evaluation.evaluation import Sampling
from chartscan_lab.study._cells import Cell, Place, cells_of, codes_of, finished, run_cells
from chartscan_lab.study._made_with import Code, not_one_code
from chartscan_lab.study._report import Report
from chartscan_lab.study._rows import Facts, Row, chosen
from chartscan_lab.study._score import Answered, Repeat, RowScore, repeat_of, score
from chartscan_lab.study._table import caption, table

BOOTSTRAP_SEED = 0


class TrainedStudy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A study whose rows are recipes. A subclass says which; its fields are its settings."""

    TITLE: ClassVar[str]
    ABOUT: ClassVar[str]  # what the rows are, and what the table is for
    BASELINE: ClassVar[str]  # the row that the others are compared with
    SEEDS: ClassVar[int] = 5
    NEEDS_DATA: ClassVar[bool] = True
    SEVERAL_TASKS: ClassVar[bool] = False
    TRUTH: ClassVar[bool] = False

    @abstractmethod
    def rows(self, facts: Facts) -> list[Row]:
        """The rows of the table, in order."""

    def run(self, place: Place) -> Report:
        """Trains and asks what is not finished; the table is of every finished cell."""
        assert place.data is not None
        rows, cells = self.finish(place)
        scores = scored(rows, cells, self.BASELINE, place, place.data.task)
        return report(self, rows, scores, place)

    def finish(self, place: Place) -> tuple[list[Row], list[Cell]]:
        """All rows and cells, those wanted finished."""
        assert place.data is not None
        rows = self.rows(place.data.facts)
        wanted = {row.name for row in chosen(rows, place.only)}
        cells = cells_of(rows, place)
        mixed = not_one_code(codes_of(cells, wanted))
        if mixed:  # said before hours of training, and under the tables
            place.watcher.say(mixed)
        run_cells([cell for cell in cells if cell.row.name in wanted], place)
        return rows, cells


def scored(rows: list[Row], cells: list[Cell], baseline: str, place: Place, task: str) -> list[RowScore]:
    """The numbers on one task of every row with at least one finished cell."""
    answered = answers_of(rows, cells, task)
    found = []
    with place.watcher.progress(f"Bootstrap {task}", "rows") as progress:
        for row in rows:
            if row.name in answered:
                reference = answered.get(row.against or baseline)
                found.append(score(answered[row.name], reference, sampling_of(place)))
                progress(len(found), len(answered))
    return found


def answers_of(rows: list[Row], cells: list[Cell], task: str) -> dict[str, Answered]:
    """By name, every row with at least one finished cell, and what its seeds said about `task`."""
    repeats: dict[str, list[Repeat]] = {row.name: [] for row in rows}
    for cell, predictions in finished(cells, task):
        repeats[cell.row.name].append(repeat_of(cell.seed, predictions))
    return {
        row.name: Answered(row.name, row.recipe, list(row.settings), row.pooled, repeats[row.name])
        for row in rows
        if repeats[row.name]
    }


def sampling_of(place: Place) -> Sampling:
    """The resamples of a study: the same for every row."""
    return Sampling(place.replicates, BOOTSTRAP_SEED)


def report(study: TrainedStudy, rows: list[Row], scores: list[RowScore], place: Place) -> Report:
    """One table for the rows of the dataset's own split, one for those that split it anew."""
    parts = [f"# {study.TITLE}", study.ABOUT]
    pooled = {row.name for row in rows if row.pooled}
    for split_anew in (False, True):
        shown = [one for one in scores if (one.name in pooled) == split_anew]
        if shown:
            parts += [table(shown, split_anew), caption(shown, split_anew, place.replicates)]
    missing = [row.name for row in rows if row.name not in {one.name for one in scores}]
    if missing:
        parts.append(f"Not run yet: {', '.join(missing)}.")
    parts += [*code_notice(scores), _provenance(scores, place)]
    return Report("\n\n".join(parts) + "\n", _values(study, scores, place))


def code_notice(rows: Sequence[RowScore], also: Sequence[tuple[str, Sequence[Code]]] = ()) -> list[str]:
    """A paragraph where the rows of a table, and what stands beside them, are not all of one code."""
    mixed = not_one_code([*((row.name, row.made_with) for row in rows), *also])
    return [mixed] if mixed else []


def provenance(place: Place) -> str:
    """Which dataset and program."""
    assert place.data is not None
    return (
        f"Dataset {place.data.dataset.fingerprint[:12]}, chartscan {chartscan.__version__}. "
        "This command chose nothing on held_out."
    )


def _provenance(scores: list[RowScore], place: Place) -> str:
    assert place.data is not None
    events = f"{scores[0].predictions:,} stays, {scores[0].events:,} events" if scores else "no stays yet"
    return f"Task {place.data.task}, held_out: {events}. {provenance(place)}"


def _values(study: TrainedStudy, scores: list[RowScore], place: Place) -> dict[str, object]:
    assert place.data is not None
    return {
        "title": study.TITLE,
        "settings": msgspec.to_builtins(study),
        "task": place.data.task,
        "dataset": place.data.dataset.fingerprint,
        "version": chartscan.__version__,
        "baseline": study.BASELINE,
        "replicates": place.replicates,
        "rows": msgspec.to_builtins(scores),
    }
