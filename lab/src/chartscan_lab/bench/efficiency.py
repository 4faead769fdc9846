"""`chartscan bench models`: what an epoch of each token model costs, and how many rows a memory holds.

The rows of appendix C.3 of EHRMamba's paper (Fallahpour et al. 2024), on a processor: seconds of an epoch and
the largest batch, in pretraining and in fine-tuning, each recipe with its own objective and precision, on the
same patients. A few batches of real-shaped rows are timed and scaled to the epoch by their positions; rows as
long as the context, as the released code pads all of them, are timed beside. Memory is measured for a few
rows a step, and what lies beyond is read from a line. Every figure is a fresh process's.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from chartscan.errors import ConfigError
from chartscan.learn.networks import NetworkRecipe
from chartscan_lab.bench import line
from chartscan_lab.bench.efficiency_table import table
from chartscan_lab.bench.epochs import Epoch, Epochs, Hospital, Phase, epochs, hospital, recipe_of
from chartscan_lab.bench.machine import observed
from chartscan_lab.bench.memory import FAILURES, failed, in_fresh_process
from chartscan_lab.bench.paper_ratios import beside_the_paper
from chartscan_lab.bench.progress import Counter, ProgressFunction, silent
from chartscan_lab.bench.timing import clock, compared, order
from chartscan_lab.bench.training_step import Measured, Work, full_rows, measured

GIB = 2**30
PHASES: tuple[Phase, ...] = ("pretraining", "fine-tuning")
RECIPES = ("ehrmamba", "multibird", "bigbird", "cehr_bert", "bilstm", "ehrmamba2")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bench models` measures. Ratios are to the first of `recipes`."""

    recipes: tuple[str, ...] = RECIPES
    data: str | None = None  # a dataset; None: simulated patients
    labels: str | None = None  # of the dataset; None: all built-in tasks
    subjects: int = 300  # to simulate
    vocab_size: int = 5000  # at least this number of tokens
    tokens: int = 2048  # of a timed batch
    batches: int = 3  # timed of each phase in a round
    rows: tuple[int, ...] = (1, 2, 3)  # of as many tokens as the context holds, for memory
    measured_gib: float = 7.5  # a batch that would need more by what was seen so far is not tried
    memory_gib: tuple[float, ...] = (16.0, 80.0)  # to fill
    rounds: int = 2
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        numbers = (self.subjects, self.tokens, self.batches, self.rounds, self.threads, *self.rows)
        if not self.recipes or len(set(self.rows)) < 2 or min(*numbers, self.vocab_size) < 1:
            raise ValueError("recipes must name one, rows hold two sizes, and each number be at least 1")
        if min(self.measured_gib, *self.memory_gib) <= 0:
            raise ValueError("memory must be above 0")

    def run(self, progress: ProgressFunction = silent) -> dict[str, Any]:
        return run(self, progress)

    def table(self, found: dict[str, Any]) -> str:
        return table(found)


class Contender(NamedTuple):
    """A recipe in one phase, and its epoch."""

    name: str
    work: Work
    epoch: Epoch


def run(settings: Settings, progress: ProgressFunction = silent) -> dict[str, Any]:
    recipes = recipes_of(settings)
    with hospital(settings.data, settings.labels, settings.subjects) as where:
        found = of_recipes(settings, recipes, where, progress)
    return found | {"patients": found["patients"] | {"data": settings.data}}


def of_recipes(
    settings: Settings, recipes: Mapping[str, NetworkRecipe], where: Hospital, progress: ProgressFunction
) -> dict[str, Any]:
    """Epochs and batches of `recipes`, which `settings` only names, on the train subjects of `where`."""
    with observed(settings.threads, keep_memory=True) as conditions:
        contenders = contenders_of(settings, recipes, where)
        total = sum(map(len, contenders.values())) * (settings.rounds + len(settings.rows))
        counter = Counter(total, progress)
        phases = [phase_of(settings, phase, own, counter) for phase, own in contenders.items()]
    return {
        "bench": "models",
        "conditions": conditions,
        "clock": clock(settings.threads).name,
        "patients": where.asked._asdict() | {"tasks": len(where.job.tasks)},
        "phases": phases,
    }


def recipes_of(settings: Settings) -> dict[str, NetworkRecipe]:
    """The recipes by name; ConfigError where one is of no token model, or labels have no dataset."""
    recipes = {name: recipe_of(name) for name in settings.recipes}
    if settings.labels and not settings.data:
        raise ConfigError("labels belong to a dataset: set data too.")
    return recipes


def contenders_of(
    settings: Settings, recipes: Mapping[str, NetworkRecipe], where: Hospital
) -> dict[Phase, list[Contender]]:
    """Who takes part in which phase; all have as many tokens in their vocabulary."""
    made: dict[str, Epochs] = {
        name: epochs(recipe, where, settings.tokens, settings.batches) for name, recipe in recipes.items()
    }
    size = max(settings.vocab_size, *(own.vocabulary for own in made.values()))
    found: dict[Phase, list[Contender]] = {phase: [] for phase in PHASES}
    for name, own in made.items():
        for phase, epoch in own.by_phase.items():
            work = Work(recipes[name], phase, size, len(where.job.tasks), settings.threads)
            found[phase].append(Contender(name, work, epoch))
    return found


def phase_of(settings: Settings, phase: Phase, own: list[Contender], counter: Counter) -> dict[str, Any]:
    """All contenders of a phase: their rows in memory, then their epochs in turn."""
    rows = {one.name: row_of(one) | memory_of(settings, one, counter) for one in own}
    times: dict[str, dict[int, float]] = {one.name: {} for one in own}
    for round_ in range(settings.rounds):
        for one in order(own, round_):
            counter.next(f"{phase} {one.name}: an epoch")
            found = in_fresh_process(measured, one.work, one.epoch.timed)
            times[one.name][round_] = seconds_of(one.epoch.positions, one.epoch.updates, found)
    baseline = settings.recipes[0] if settings.recipes[0] in times else None
    for one in own:
        row = rows[one.name] | compared(times, baseline)[one.name]
        row["tokens_per_second"] = one.epoch.positions / row["seconds"]
        rows[one.name] = row
    _compare_padded(rows, baseline)
    named = [{"name": name} | row for name, row in rows.items()]
    return {
        "phase": phase,
        "baseline": baseline,
        "rows": named,
        "beside_the_paper": beside_the_paper(phase, baseline, named),
    }


def _context(recipe: NetworkRecipe) -> int:
    """Tokens that a row may have."""
    found: int = recipe.reader.context  # type: ignore[union-attr]
    return found


def row_of(one: Contender) -> dict[str, Any]:
    """What is known before anything is measured."""
    epoch, recipe = one.epoch, one.work.recipe
    return {
        "precision": "bf16" if one.work.bf16 else "fp32",
        "context": _context(recipe),
        "rows": epoch.rows,
        "positions": epoch.positions,
        "updates": epoch.updates,
        "prompts": epoch.prompts,
        "prompts_per_row": epoch.prompts_per_row,
    }


def seconds_of(positions: int, updates: int, found: Measured) -> float:
    """Seconds of an epoch from its numbers of positions and updates, and what each costs."""
    return positions * found.per_position + updates * found.per_update


def memory_of(settings: Settings, one: Contender, counter: Counter) -> dict[str, Any]:
    """Peak memory by rows a step, what larger memories would hold, and an epoch of rows all this long."""
    context, prompts = _context(one.work.recipe), max(round(one.epoch.prompts_per_row), 1)
    sizes: list[int] = []
    peaks: list[int] = []
    first: Measured | None = None  # the only one that is timed
    not_measured = {}
    for size in sorted(set(settings.rows)):
        counter.next(f"{one.work.phase} {one.name}: {size} rows of {context}")
        if len(sizes) > 1 and line.through(sizes, peaks).at(size) > settings.measured_gib * GIB:
            not_measured[size] = f"would need more than {settings.measured_gib:g} GiB"
            continue
        try:
            batch = full_rows(one.work, size, prompts, context)
            found = in_fresh_process(measured, one.work, [batch], first is None)
        except FAILURES as failure:
            not_measured[size] = failed(failure)
            continue
        sizes.append(size)
        peaks.append(found.peak_bytes)
        first = first or found
    row: dict[str, Any] = {
        "peaks": dict(zip(sizes, peaks, strict=True)),
        "not_measured": not_measured,
        "largest": [],
        "parameters": first.parameters if first else None,
        "padded_seconds": _padded(one, first) if first else None,
        "padded_tokens_per_second": 1 / first.per_position if first else None,
    }
    if len(sizes) > 1:
        fit = line.through(sizes, peaks)
        row |= {"fixed_bytes": fit.start, "bytes_a_row": fit.slope, "error": line.error(fit, sizes, peaks)}
        row["largest"] = [
            {"gib": gib} | line.reach(sizes, peaks, gib * GIB)._asdict() for gib in settings.memory_gib
        ]
    return row


def _padded(one: Contender, found: Measured) -> float:
    """Seconds of an epoch whose rows are all as long as the context, as the paper's are padded."""
    positions = one.epoch.rows * _context(one.work.recipe)
    return seconds_of(positions, -(-positions // one.work.recipe.batch_size), found)


def _compare_padded(rows: dict[str, dict[str, Any]], baseline: str | None) -> None:
    base = rows[baseline]["padded_seconds"] if baseline else None
    for row in rows.values():
        own = row["padded_seconds"]
        row["padded_ratio"] = own / base if own and base else None
