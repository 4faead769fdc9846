"""What a report says beside the evaluation: where the data came from and how the models were made.

Every field is optional; the report says "not available" where one is missing, and leaves nothing out.
"""

from typing import Any

import msgspec

from chartscan.notes import Note


class DatasetFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The dataset that was predicted on."""

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
