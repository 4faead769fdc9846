"""What a training cost, as its run record and the clock say it."""

from collections.abc import Mapping
from typing import Any


def facts_of(run: Mapping[str, Any], training_seconds: float | None) -> dict[str, Any]:
    """Facts to keep beside a cell's predictions; None, or nothing, for what the record does not say."""
    return {
        "parameters": run.get("parameters"),
        "training_seconds": training_seconds,
        "seconds_per_epoch": dict(run.get("seconds_per_epoch", {})),
        "versions": dict(run.get("versions", {})),
        "threads": run.get("threads"),
    }
