"""What a training cost, as its run record and the clock say it."""

from collections.abc import Mapping, Sequence
from typing import Any


def facts_of(runs: Sequence[Mapping[str, Any]], seconds: Sequence[float | None]) -> dict[str, Any]:
    """Facts to keep beside a cell's predictions; None, or nothing, for what the records do not say.

    `runs` are of its trainings one after the other, a body's first, with the `seconds` of each.
    """
    last = runs[-1]
    known = [one for one in seconds if one is not None]
    return {
        "parameters": last.get("parameters"),
        "training_seconds": sum(known) if len(known) == len(runs) else None,
        "seconds_per_epoch": {
            phase: s for run in runs for phase, s in run.get("seconds_per_epoch", {}).items()
        },
        "versions": dict(last.get("versions", {})),
        "threads": last.get("threads"),
    }
