"""What an epoch and a batch of a study's sequence models cost: `bench models` on the study's own data, once.

    OUT/efficiency/<id>.json  one measurement of all of them, since ratios are within one run; <id> is a hash
                              of everything that decides it: the trainings and the settings of the bench

What trainings themselves took is in the records of the cells; here models take turns, so that other load
meets all alike, and memory is found. This module does not know which models there are.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from chartscan import files
from chartscan_lab.bench import efficiency as bench
from chartscan_lab.study._cells import Cell, Place
from chartscan_lab.study._made_with import current

# Rows of a step whose memory is measured, by size: enough to count beside the libraries, yet they fit.
ROWS = {"tiny": (4, 8, 16), "paper": (1, 2, 3)}


def settings_of(
    recipes: Sequence[str], size: str, memory_gib: Sequence[float], threads: int
) -> bench.Settings:
    """Those of `bench models`, with the study's own vocabulary."""
    return bench.Settings(
        recipes=tuple(recipes),
        vocab_size=1,
        rows=ROWS[size],
        memory_gib=tuple(memory_gib),
        threads=threads,
    )


def measured_once(cells: Sequence[Cell], settings: bench.Settings, place: Place, now: bool) -> Any:
    """The result of the bench for the recipes of `cells`; None where there is none yet and it is not `now`.

    `settings.recipes` are the names of the cells' recipes, in order.
    """
    assert place.data is not None
    path = place.out / "efficiency" / f"{_key(cells, settings)}.json"
    if not path.exists():
        if not now:
            return None
        place.watcher.say(f"measuring epochs and batches of {len(cells)} recipes")
        recipes = {cell.row.recipe: cell.training.recipe for cell in cells}
        found = place.data.trainer.measure(recipes, settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        made = {"settings": msgspec.to_builtins(settings), "made_with": msgspec.to_builtins(current())}
        files.write_json(path, made | found)
    return json.loads(path.read_bytes())


def _key(cells: Sequence[Cell], settings: bench.Settings) -> str:
    parts = [msgspec.to_builtins(settings), *(cell.artifact.name for cell in cells)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
