"""One phase of training, pretraining or fine-tuning: in a folder of its own, watched, and resumed exactly."""

import json
from contextlib import nullcontext
from pathlib import Path

import msgspec
from torch import nn

from chartscan.errors import ChartscanError
from chartscan.runs.job import Job
from chartscan.runs.work import identity
from chartscan.training import Batches, Evaluation, FitResult, LossFunction, StepRecord, TrainConfig, fit
from chartscan.training.tracking import tensorboard


class Interrupted(ChartscanError):
    """Training was asked to stop and has saved its state."""

    exit_code = 143


def run_phase(
    job: Job,
    recipe: msgspec.Struct,
    title: str,
    module: nn.Module,
    data: Batches,
    loss: LossFunction,
    config: TrainConfig,
    evaluate: Evaluation | None,
) -> FitResult:
    """`fit` in a folder named after the phase under the job's working folder.

    Raises Interrupted where a signal stopped it and everything is saved.
    """
    folder = phase_folder(job, title)
    tracking = tensorboard(job.track / folder.name) if job.track else nullcontext()
    with job.watcher.progress(title, "steps") as progress, tracking as track:

        def report(record: StepRecord) -> None:
            progress(record.step, record.total_steps, _text(record))
            if track:
                track(record)

        result = fit(
            module,
            data,
            loss,
            config,
            folder=folder,
            evaluate=evaluate,
            resume=job.resume,
            report=report,
            device=job.device,
            fingerprint=json.dumps(identity(job, recipe), sort_keys=True),
        )
    if result.interrupted:
        raise Interrupted(f"{title} was interrupted and saved. Go on with the same command and --resume.")
    return result


def phase_folder(job: Job, title: str) -> Path:
    """Where a phase keeps its checkpoints and its log."""
    return job.work / title.lower().replace(" ", "-")


def _text(record: StepRecord) -> str:
    """What is shown beside the bar."""
    loss = "" if record.loss is None else f"loss {record.loss:.4f}, "
    tuning = "".join(f", tuning {name} {value:.4f}" for name, value in record.metrics.items())
    return f"{loss}{record.tokens_per_second:,.0f} targets/s{tuning}"
