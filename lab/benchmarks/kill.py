"""Kills `chartscan train` at random steps and compares every loss with an uninterrupted run, bit for bit.

    python lab/benchmarks/kill.py DATASET LABELS [--kills 10] [--seed 0]

Each kill is SIGKILL at a random moment of pretraining or fine-tuning, followed by `--resume`. Ends with the
steps at which the run died and whether losses, gradient norms and weights are equal.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = (
    *("pretrain.epochs=2", "finetune.epochs=2", "model.d_model=32"),
    *("pretrain.checkpoint_every_steps=7", "finetune.checkpoint_every_steps=7"),
)
PHASES = ("pretraining", "fine-tuning")


def main() -> None:
    """The unbroken run, the broken one, and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        command = [
            *(sys.executable, "-m", "chartscan", "train", "ehrmamba-tiny", "--quiet", "--threads", "1")
        ]
        command += ["--data", str(options.dataset), "--labels", str(options.labels)]
        command += [part for setting in SETTINGS for part in ("--set", setting)]
        subprocess.run([*command, "--out", str(whole)], check=True)
        total = len(losses(whole))
        died = kill_and_resume([*command, "--out", str(broken)], broken, options, total)
        same_losses = losses(whole) == losses(broken)
        same_weights = read(whole, "weights.safetensors") == read(broken, "weights.safetensors")
        print(f"{total} steps; killed after steps {died}")
        print(f"losses and gradient norms equal: {same_losses}; weights equal: {same_weights}")
        sys.exit(0 if same_losses and same_weights else 1)


def kill_and_resume(command: list[str], run: Path, options: argparse.Namespace, total: int) -> list[int]:
    """Runs to the end through `options.kills` kills; the steps after which the run was dead."""
    moments = sorted(random.Random(options.seed).sample(range(1, total), options.kills))
    died = []
    for moment in moments:
        process = start(command, run)
        while logged(run) < moment and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        died.append(logged(run))
    start(command, run).wait()
    return died


def start(command: list[str], run: Path) -> subprocess.Popen[bytes]:
    """The command, resuming what is there."""
    resume = ["--resume"] if run.with_name(run.name + ".work").exists() else []
    return subprocess.Popen([*command, *resume])


def logged(run: Path) -> int:
    """Steps in the logs of both phases."""
    work = run.with_name(run.name + ".work")
    logs = [work / phase / "losses.jsonl" for phase in PHASES]
    return sum(log.read_bytes().count(b"\n") for log in logs if log.exists())


def losses(run: Path) -> list[tuple[float, ...]]:
    """(step, loss, gradient norm) of every step, from the run's record."""
    curves = json.loads(read(run, "run.json"))["curves"]
    rows = [row for phase in PHASES for row in curves[f"{phase}/losses"]]
    return [(row["step"], row["loss"], row["grad_norm"]) for row in rows]


def read(run: Path, name: str) -> bytes:
    """One file of the artifact."""
    return (run / name).read_bytes()


if __name__ == "__main__":
    main()
