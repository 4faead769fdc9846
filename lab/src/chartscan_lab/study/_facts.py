"""What a training cost, as its run record and the clock say it, and the code that made it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chartscan_lab.study._made_with import Code, code_of, current, distinct


def facts_of(runs: Sequence[Mapping[str, Any]], seconds: Sequence[float | None]) -> dict[str, Any]:
    """Facts to keep beside a cell's predictions; None, or nothing, for what the records do not say.

    `runs` are of its trainings one after the other, a body's first, with the `seconds` of each.
    """
    last = runs[-1]
    known = [one for one in seconds if one is not None]
    trained_with = [code_of(run["versions"]) for run in runs if "versions" in run]
    return {
        "parameters": last.get("parameters"),
        "training_seconds": sum(known) if len(known) == len(runs) else None,
        **{name: _by_phase(runs, name) for name in ("seconds_per_epoch", "tokens_per_epoch")},
        "versions": dict(last.get("versions", {})),
        "made_with": msgspec.to_builtins(distinct([*trained_with, current()])),  # now it is asked
        "threads": last.get("threads"),
    }


def made_with(facts: Mapping[str, Any]) -> list[Code]:
    """The code of a cell; of one from before that was kept, what its training recorded."""
    if "made_with" in facts:
        return msgspec.convert(facts["made_with"], list[Code])
    return [code_of(facts["versions"])] if facts.get("versions") else []


def _by_phase(runs: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    return {phase: value for run in runs for phase, value in run.get(name, {}).items()}
