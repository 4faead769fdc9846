"""The working folder beside a run: checkpoints and what was fitted, kept until the artifact is published."""

import shutil

from chartscan.errors import ConfigError
from chartscan.recipes._job import Job


def begin(job: Job) -> None:
    """Refuse what would overwrite a run, or mix with one that was cut short."""
    if job.out.exists():
        raise ConfigError(f"{job.out} exists already and is not overwritten. Choose another --out.")
    if job.work.exists() and not job.resume:
        raise ConfigError(
            f"{job.work} holds an unfinished run. Go on with it: --resume, or remove that folder."
        )
    job.work.mkdir(parents=True, exist_ok=True)


def finished(job: Job) -> None:
    """The artifact is published; the working folder is no longer needed."""
    shutil.rmtree(job.work)
