"""How much of the evaluated records each model knows, from the settings in its predictions."""

from collections.abc import Mapping
from typing import Any

import msgspec

from chartscan.evaluation.result import Evaluation

KEY = "coverage"  # in the run settings of predictions: what is read -> code system -> events and unknown


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
