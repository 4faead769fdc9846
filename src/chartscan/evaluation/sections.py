"""Report sections beside the evaluation: the dataset, training, and vocabulary coverage.

Every field is optional: a report says "not available" where one is missing, and leaves nothing out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from chartscan.evaluation.result import Evaluation, ModelResult
from chartscan.notes import Note
from chartscan.schema import HELD_OUT

SAME, OTHER, UNKNOWN = "same", "other", "not known"  # the evaluated dataset beside the one trained on
KEY = "coverage"  # in the run settings of predictions: what is read -> code system -> events and unknown


class DatasetFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The dataset of the predictions."""

    name: str | None = None
    subjects: int | None = None
    events: int | None = None
    first_event: str | None = None  # ISO date
    last_event: str | None = None
    simulated: bool | None = None  # None: not known
    follow_up: dict[str, Any] | None = None  # as in the manifest: rule, and time or days
    fingerprint: str | None = None  # SHA-256 of the manifest


class TrainingCurve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One loss over the steps of one run."""

    name: str  # such as "pretraining, train"
    steps: list[int]
    losses: list[float]


class ReportSections(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a report can show that predictions do not hold."""

    title: str = "Evaluation"
    version: str | None = None  # of chartscan
    code_version: str | None = None  # git commit
    created: str | None = None  # ISO time
    seed: int | None = None  # of the training run
    dataset: DatasetFacts | None = None
    task_titles: dict[str, str] = {}
    accounting: dict[str, Any] | None = None  # as in the manifest: lines, events_out, normalised, flagged
    recognition: dict[str, Any] | None = None  # as in the manifest: how the words of the source were read
    notes: list[Note] = []  # on the dataset
    training: list[TrainingCurve] | None = None
    settings: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None


class Origin(msgspec.Struct, frozen=True):
    """One model and task: what the predictions' settings say about the subjects."""

    model: str
    task: str
    dataset: str  # SAME as the one trained on, an OTHER one, or UNKNOWN
    split: str | None
    subjects: int
    seen: int | None  # how many of them were used in training; None: unknown
    trained_on: Mapping[str, Any]  # facts of the dataset trained on

    @property
    def sentence(self) -> str:
        """`none of the 312 subjects were used in training`."""
        if self.seen is None:
            return f"unknown whether any of the {self.subjects:,} subjects were used in training"
        if self.seen == 0:
            return f"none of the {self.subjects:,} subjects were used in training"
        return f"{self.seen:,} of the {self.subjects:,} subjects were used in training"


def origins(evaluation: Evaluation) -> Iterator[Origin]:
    """The origin of every model on every task."""
    for task in evaluation.tasks:
        for model in task.models:
            yield origin_of(model, task.task, task.subjects)


def origin_of(model: ModelResult, task: str, subjects: int) -> Origin:
    """Return the origin that a model's run settings state; what they lack is not known."""
    run = model.run
    trained_on = run.get("trained_on")
    trained_on = trained_on if isinstance(trained_on, Mapping) else {}
    theirs, ours = trained_on.get("fingerprint"), run.get("dataset")
    known = isinstance(theirs, str) and isinstance(ours, str)
    split = run.get("split")
    counted = run.get("seen")
    seen = counted.get("seen") if isinstance(counted, Mapping) else None
    dataset = (SAME if theirs == ours else OTHER) if known else UNKNOWN
    if not isinstance(seen, int) and dataset == SAME and split == HELD_OUT:
        seen = 0  # the splits of a dataset have no subject in common
    return Origin(
        model=model.model,
        task=task,
        dataset=dataset,
        split=split if isinstance(split, str) else None,
        subjects=subjects,
        seen=seen if isinstance(seen, int) else None,
        trained_on=trained_on,
    )


def dataset_words(found: list[Origin]) -> str | None:
    """Whether the models were trained on the evaluated dataset, for the head of a report."""
    kinds = {one.dataset for one in found}
    if not kinds or kinds == {UNKNOWN}:
        return None
    if len(kinds) == 1:
        return "this dataset" if kinds == {SAME} else "another dataset"
    words = {SAME: "this one", OTHER: "another", UNKNOWN: "not known"}
    models = dict.fromkeys((one.model, one.dataset) for one in found)
    return ", ".join(f"{model}: {words[kind]}" for model, kind in models)


class SystemCoverage(msgspec.Struct, frozen=True):
    """How much of a code system a model knows."""

    system: str
    events: int
    unknown: int

    @property
    def rate(self) -> float:
        """Share of the events that are unknown."""
        return self.unknown / self.events if self.events else 0.0


class CoverageTable(msgspec.Struct, frozen=True):
    """What models that read records alike know of the subjects asked about."""

    models: list[str]
    read: str  # "events" or "measurements"
    systems: list[SystemCoverage]

    @property
    def total(self) -> SystemCoverage:
        """All code systems together."""
        events, unknown = sum(s.events for s in self.systems), sum(s.unknown for s in self.systems)
        return SystemCoverage("all", events, unknown)


def coverage_tables(evaluation: Evaluation) -> list[CoverageTable]:
    """One table for each way of reading records; models that share it stand together."""
    found: dict[tuple[str, tuple[SystemCoverage, ...]], list[str]] = {}
    for task in evaluation.tasks:
        for model in task.models:
            for read, systems in _mapping(model.run.get(KEY)).items():
                rows = tuple(_rows(_mapping(systems)))
                if rows:
                    found.setdefault((str(read), rows), []).append(model.model)
    return [
        CoverageTable(list(dict.fromkeys(models)), read, list(rows)) for (read, rows), models in found.items()
    ]


def _rows(systems: Mapping[str, Any]) -> list[SystemCoverage]:
    """The systems by their unknown events, the most first; what is no count is left out."""
    counts = [(name, _mapping(one)) for name, one in systems.items()]
    rows = [
        SystemCoverage(str(name), one["events"], one["unknown"])
        for name, one in counts
        if isinstance(one.get("events"), int) and isinstance(one.get("unknown"), int)
    ]
    return sorted(rows, key=lambda row: (-row.unknown, row.system))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
