"""EHRMamba's ratios to MultiBird, in an epoch's time and in the largest batch, beside those of its paper.

A ratio is between two models of one run: the figures themselves are another machine's.
"""

import re
from collections.abc import Sequence
from typing import Any

# Appendix C.3: MultiBird's seconds over EHRMamba's, and EHRMamba's batch over MultiBird's; on GPUs.
PAPER = {
    "pretraining": {"seconds": (24 * 60 + 5) / (14 * 60 + 29), "batch": 44 / 32},
    "fine-tuning": {"seconds": (4 * 60 + 37) / (60 + 17), "batch": 64 / 26},
}
OURS, OTHER = "ehrmamba", "multibird"


def beside_the_paper(
    phase: str, baseline: str | None, rows: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """For each MultiBird of a phase, where an EHRMamba is the baseline; else nothing.

    `batches`: how many times the rows, and in fine-tuning the prompts, that a memory holds; None where
    MultiBird's largest batch is empty.
    """
    base = next((row for row in rows if row["name"] == baseline and _is(OURS, row["name"])), None)
    return [
        {
            "row": row["name"],
            "baseline": base["name"],
            "seconds": row["ratio"],
            "padded_seconds": row["padded_ratio"],
            "batches": _batches(base, row),
            "paper": PAPER[phase],
        }
        for row in rows
        if base is not None and _is(OTHER, row["name"])
    ]


def _is(model: str, recipe: str) -> bool:
    """Whether `recipe` is the model's, at any size: `ehrmamba-tiny` is, `ehrmamba2` is not."""
    return re.split("[-_]", recipe)[0] == model


def _batches(base: dict[str, Any], row: dict[str, Any]) -> list[dict[str, Any]]:
    """EHRMamba's largest batch over MultiBird's for each memory."""
    more = base["prompts_per_row"] / row["prompts_per_row"] if base["prompts"] else None
    found = []
    for mine, other in zip(base["largest"], row["largest"], strict=False):
        times = mine["largest"] / other["largest"] if other["largest"] else None
        prompts = times * more if times is not None and more is not None else None
        found.append({"gib": mine["gib"], "rows": times, "prompts": prompts})
    return found
