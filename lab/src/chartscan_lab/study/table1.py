"""Every model on every task, fine-tuned for each task and by prompts: Table 1 of the EHRMamba paper."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import msgspec
import pyarrow as pa

import chartscan
from chartscan.errors import ConfigError
from chartscan.evaluation.predictions import TRUE_RISK
from chartscan.evaluation.truth import ceilings
from chartscan.find import unknown
from chartscan.learn.networks import reads_tokens
from chartscan.recipes import find_recipe, recipe_names
from chartscan_lab.study._cells import Cell, Place
from chartscan_lab.study._contest import Contest, contests, corrected
from chartscan_lab.study._efficiency import measured_once, settings_of
from chartscan_lab.study._efficiency_tables import UNMEASURED, trainings
from chartscan_lab.study._efficiency_tables import measured as efficiency_tables
from chartscan_lab.study._made_with import code_of
from chartscan_lab.study._report import Report
from chartscan_lab.study._rows import Facts, Row
from chartscan_lab.study._score import Answered, RowScore, repeat_of, score
from chartscan_lab.study._task_report import Named, markdown
from chartscan_lab.study._task_tables import CEILING, Scores, TaskScores
from chartscan_lab.study._trained import TrainedStudy, answers_of, code_notice, sampling_of, scored

Way = Literal["one task", "prompted", "probed"]
ONE_TASK, PROMPTED, PROBED = get_args(Way)
WAYS: dict[Way, str] = {ONE_TASK: "together=false", PROMPTED: "together=true", PROBED: "probe=true"}
OURS, OTHER = f"ehrmamba, {PROMPTED}", f"multibird, {PROMPTED}"  # whose costs the paper compares
ONLY = {"bigbird": (ONE_TASK, PROBED), "multibird": (PROMPTED,)}  # MultiBird is BigBird with prompts


class Table1(TrainedStudy, frozen=True):
    """Which models, at which size; which are tested, and which are also trained on few labels."""

    TITLE: ClassVar[str] = "Table 1: every model on every task"
    ABOUT: ClassVar[str] = (
        "Every model under the same labels and splits, asked about the same held-out stays. A body is "
        "pretrained once a seed on all train subjects, and every fine-tuning of that seed starts from it."
    )
    BASELINE: ClassVar[str] = "xgboost"
    SEEDS: ClassVar[int] = 3
    SEVERAL_TASKS: ClassVar[bool] = True
    TRUTH: ClassVar[bool] = True

    size: Literal["tiny", "paper"] = "tiny"
    recipes: tuple[str, ...] = (
        "xgboost",
        "logistic",
        "hymate-paper",
        "bilstm",
        "cehr-bert",
        "bigbird",
        "multibird",
        "ehrmamba",
        "ehrmamba2",
    )
    ways: tuple[Way, ...] = (ONE_TASK, PROMPTED)  # in which a pretrained body comes to its answers
    tested: tuple[str, ...] = ("ehrmamba", "ehrmamba2")  # against the rows of all other recipes
    few: tuple[str, ...] = ()  # rows that are also trained on few labels; compared with the first of them
    few_labels: tuple[int, ...] = (250, 1000, 5000)  # train labels of a task
    pretrain_epochs: int | None = None  # of every network; None: as its recipe says
    finetune_epochs: int | None = None
    tokens_per_batch: int | None = None  # of every sequence model
    min_subjects: int | None = None  # train subjects that a token or a variable needs
    memory_gib: float | tuple[float, ...] = ()  # to fill with a batch; none: no epochs and batches measured

    def rows(self, facts: Facts) -> list[Row]:
        """The rows of all labels, then those of few, as far as there are more labels than that."""
        check_named("tested", "recipe", self.tested, self.recipes)
        if not self.full_rows():
            raise ConfigError(
                f"ways: none of {', '.join(self.recipes)} is trained in any of these. Name others."
            )
        check_named("few", "row", self.few, [row.name for row in self.full_rows()])
        return [*self.full_rows(), *self.few_rows(facts)]

    def full_rows(self) -> list[Row]:
        """A row for each recipe, or for each way in which it is trained."""
        return [row for recipe in self.recipes for row in self._rows_of(recipe)]

    def few_rows(self, facts: Facts) -> list[Row]:
        """The rows named by `few`, with that number of labels for each task."""
        full = {row.name: row for row in self.full_rows()}
        return [
            msgspec.structs.replace(
                full[name],
                name=few_name(name, labels),
                settings=(*full[name].settings, f"label_limit={labels}"),
                against=few_name(self.few[0], labels),
            )
            for name in self.few
            for labels in self.few_labels
            if labels < facts.train_labels
        ]

    def run(self, place: Place) -> Report:
        """Trains and asks what is not finished; tables of every finished cell, tests when all are."""
        assert place.data is not None
        self._check_measurable(place.device)
        rows, cells = self.finish(place)
        answered = {task: answers_of(rows, cells, task) for task in place.data.labels}
        best = ceiling_scores(cells[0].asked, place)
        tasks = [
            TaskScores(task, scored(rows, cells, self.BASELINE, place, task), best.get(task))
            for task in answered
        ]
        waiting = self._waiting(answered, place.seeds)
        found = [] if waiting else corrected(list(self._contests(answered, place)))
        scores = Scores(tasks, found)
        full, few = self.full_rows(), self.few_rows(place.data.facts)
        named = Named([row.name for row in full], [*self.few, *(row.name for row in few)] if few else [])
        measured = self._measured(cells, place)
        costs = self._costs(scores, measured)
        text = markdown(self.TITLE, self.ABOUT, scores, named, waiting, costs, place)
        return Report(text, self._values(scores, place) | {"efficiency": measured})

    @property
    def _memories(self) -> tuple[float, ...]:
        return self.memory_gib if isinstance(self.memory_gib, tuple) else (self.memory_gib,)

    def _check_measurable(self, device: str) -> None:
        """ConfigError, before any training, where epochs and batches are wanted that cannot be measured."""
        if min(self._memories, default=1) <= 0:
            raise ConfigError(f"memory_gib is {self.memory_gib}; expected more than 0.")
        if self._memories and device != "cpu":
            raise ConfigError(
                f"memory_gib: epochs and batches are measured on a processor only, not on {device}. Leave it "
                "away: what the trainings took is reported on any device."
            )

    def _measured(self, cells: Sequence[Cell], place: Place) -> Any:
        """Epochs and batches of every sequence recipe, EHRMamba first; None if not wanted, or not yet."""
        rows = sorted(self._tuned_rows(), key=lambda row: not row.name.startswith("ehrmamba,"))
        if not rows or not self._memories:
            return None
        first = {cell.row.name: cell for cell in cells if cell.seed == 0}
        found = [first[row.name] for row in rows]
        recipes = [cell.row.recipe for cell in found]
        settings = settings_of(recipes, self.size, self._memories, place.threads)
        return measured_once(found, settings, place, now=all(cell.answers.exists() for cell in cells))

    def _tuned_rows(self) -> Iterator[Row]:
        """A row for each recipe of a sequence model that is fine-tuned: by prompts, where it is so."""
        for recipe in self.recipes:
            rows = {row.name: row for row in self._rows_of(recipe)}
            tuned = [rows[name] for way in (PROMPTED, ONE_TASK) if (name := f"{recipe}, {way}") in rows]
            yield from tuned[:1]

    def _costs(self, scores: Scores, measured: Any) -> list[str]:
        """The parts of the page about efficiency."""
        full = [row.name for row in self.full_rows()]
        parts = trainings([row for row in scores.rows() if row.name in full], OURS, OTHER)
        if measured:
            also = [("epochs and batches", [code_of(measured["made_with"])])]
            return [*parts, *efficiency_tables(measured), *code_notice(scores.rows(), also)]
        return [*parts, UNMEASURED] if self._memories else parts

    def _rows_of(self, recipe: str) -> list[Row]:
        name, found = sized(recipe, self.size)
        settings = self._settings(found)
        if not reads_tokens(found):
            return [Row(name=recipe, recipe=name, settings=settings)]
        ways = [way for way in self.ways if way in ONLY.get(recipe, WAYS)]
        if found.pretrain is None:
            ways = [way for way in ways if way != PROBED]  # there is nothing to probe
        return [
            Row(
                name=f"{recipe}, {way}",
                recipe=name,
                settings=(WAYS[way], *settings),
                shared_pretraining=True,
            )
            for way in ways
        ]

    def _settings(self, recipe: Any) -> tuple[str, ...]:
        """Those of the study that the recipe has a place for."""
        wanted = {
            "pretrain.epochs": self.pretrain_epochs if getattr(recipe, "pretrain", None) else None,
            "finetune.epochs": self.finetune_epochs if getattr(recipe, "finetune", None) else None,
            "batch_size": self.tokens_per_batch if reads_tokens(recipe) else None,
            "reader.min_subjects": self.min_subjects,
        }
        return tuple(f"{name}={value}" for name, value in wanted.items() if value is not None)

    def _names(self, tested: bool) -> list[str]:
        """Rows of all labels that are tested, or those that they are tested against."""
        recipes = [recipe for recipe in self.recipes if (recipe in self.tested) == tested]
        return [row.name for recipe in recipes for row in self._rows_of(recipe)]

    def _waiting(self, answered: Mapping[str, Mapping[str, Answered]], seeds: int) -> list[str]:
        """Rows of all labels that lack answers of a seed to a task."""
        return [
            row.name
            for row in self.full_rows()
            if any(row.name not in one or len(one[row.name].repeats) < seeds for one in answered.values())
        ]

    def _contests(self, answered: Mapping[str, Mapping[str, Answered]], place: Place) -> Iterator[Contest]:
        tested, baselines = self._names(tested=True), self._names(tested=False)
        if tested and baselines:
            for task, found in answered.items():
                yield from contests(task, found, tested, baselines, sampling_of(place))

    def _values(self, scores: Scores, place: Place) -> dict[str, Any]:
        assert place.data is not None
        return {
            "title": self.TITLE,
            "settings": msgspec.to_builtins(self),
            "dataset": place.data.dataset.fingerprint,
            "version": chartscan.__version__,
            "replicates": place.replicates,
            "tasks": msgspec.to_builtins(scores.tasks),
            "tests": msgspec.to_builtins(scores.contests),
        }


STUDY = Table1()


def sized(recipe: str, size: str) -> tuple[str, Any]:
    """The name of the recipe of that size, and itself; those of one size only are as they are."""
    wanted = f"{recipe}-{size}"
    name = wanted if wanted in recipe_names() else recipe
    return name, find_recipe(name)


def few_name(row: str, labels: int) -> str:
    """The name of a row trained on few labels."""
    return f"{row}, {labels:,} labels"


def check_named(setting: str, what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """ConfigError, with the nearest, for a name that is not known."""
    for name in names:
        if name not in known:
            raise ConfigError(f"{setting}: " + unknown(what, name, known))


def ceiling_scores(asked: Mapping[str, pa.Table], place: Place) -> dict[str, RowScore]:
    """By task, what the true risk of every question is worth; nothing where no truth is given."""
    assert place.data is not None
    if place.data.truth is None:
        return {}
    found = ceilings(place.data.truth, place.data.dataset, dict(asked))
    rows = {task: Answered(CEILING, TRUE_RISK, [], False, [repeat_of(0, one)]) for task, one in found.items()}
    return {task: score(row, None, sampling_of(place)) for task, row in rows.items()}
