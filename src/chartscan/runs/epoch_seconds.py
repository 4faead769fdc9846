"""How long an epoch took: from the log of each phase of training."""

from pathlib import Path

import msgspec

from chartscan import files
from chartscan.training import Batches, TrainConfig
from chartscan.training.plan import plan


def seconds_per_epoch(folder: Path, data: Batches, config: TrainConfig) -> float:
    """Seconds of a phase for each epoch of it, evaluations included, sessions of a resumed run added up."""
    last = msgspec.json.decode(files.read_bytes(folder / "losses.jsonl").splitlines()[-1])
    steps_per_epoch = plan(data, config).ends[-1] / config.epochs
    return float(last["seconds"] / (last["step"] / steps_per_epoch))
