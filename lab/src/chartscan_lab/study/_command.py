"""From the word on the command line to a study, its cells and its tables."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import torch

from chartscan.errors import ConfigError, DataError
from chartscan.find import described, find, unknown
from chartscan.labels.belonging import check_labels
from chartscan.labels.files import Labels, load_labels
from chartscan.learn.calibration import learnable
from chartscan.lock import OutputLock
from chartscan.machine import keep_freed_memory
from chartscan.notes import Notes
from chartscan.runs.job import Job, Watcher, of_subjects
from chartscan.schema import HELD_OUT
from chartscan.settings import with_settings
from chartscan.store.dataset import Dataset
from chartscan_lab.study._cells import Place, StudyData
from chartscan_lab.study._report import Report, save
from chartscan_lab.study._rows import Study
from chartscan_lab.study._trainer import RecipeTrainer

PACKAGE = "chartscan_lab.study"


@dataclass(frozen=True)
class StudyPlan:
    """What the user asked for."""

    name: str
    out: Path
    data: Path | None = None
    labels: Path | None = None
    only: list[str] = field(default_factory=list)
    seeds: int | None = None
    settings: list[str] = field(default_factory=list)
    resume: bool = False
    threads: int = 1
    device: str = "cpu"
    bootstrap: int = 1000
    truth: Path | None = None


def study_names() -> list[str]:
    """Names of the studies, as users write them: with dashes."""
    return sorted(name.replace("_", "-") for name in described(PACKAGE, "STUDY"))


def find_study(name: str) -> ModuleType:
    """The module of the study `name`; ConfigError with the nearest if there is none."""
    wanted, known = name.replace("_", "-"), study_names()
    if wanted not in known:
        raise ConfigError(unknown("study", wanted, known))
    return find(PACKAGE, wanted)


def run_study(plan: StudyPlan, watcher: Watcher) -> Iterator[str]:
    """Runs what is not finished; writes OUT/<name>.md and OUT/<name>.json and gives the Markdown."""
    study: Study = with_settings(find_study(plan.name).STUDY, plan.settings)
    if plan.out.exists() and not plan.out.is_dir():
        raise ConfigError(f"--out {plan.out} is a file; expected a folder for cells and tables.")
    if plan.truth and not study.TRUTH:
        raise ConfigError(f"--truth: the study {plan.name} shows no ceiling. Leave it away.")
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    with OutputLock(plan.out):
        report = _report(study, plan, watcher)
        yield report.markdown
        yield str(save(plan.out, plan.name.replace("_", "-"), report))


def _report(study: Study, plan: StudyPlan, watcher: Watcher) -> Report:
    """What the study found, after its unfinished cells are run."""
    torch.set_num_threads(plan.threads)
    keep_freed_memory()
    data = _study_data(plan, study.SEVERAL_TASKS, watcher) if study.NEEDS_DATA else None
    place = Place(
        out=plan.out,
        watcher=watcher,
        seeds=plan.seeds or study.SEEDS,
        only=plan.only,
        resume=plan.resume,
        threads=plan.threads,
        device=plan.device,
        replicates=plan.bootstrap,
        data=data,
    )
    return study.run(place)


def _study_data(plan: StudyPlan, several_tasks: bool, watcher: Watcher) -> StudyData:
    if plan.data is None or plan.labels is None:
        raise ConfigError(f"The study {plan.name} trains on a dataset: give --data DATASET --labels L.")
    notes = Notes(watcher.note)
    dataset, labels = Dataset.open(plan.data), load_labels(plan.labels, notes=notes)
    check_labels(labels, dataset, notes)
    if several_tasks:
        labels = _comparable(labels, dataset, plan.out, watcher)
    elif len(labels) != 1:
        raise DataError(
            f"{plan.labels} holds labels of {len(labels)} tasks; the study {plan.name} is about one. Name "
            "one file of it."
        )
    trainer = RecipeTrainer(dataset, labels, watcher, plan.threads, plan.device)
    return StudyData(dataset, {task: table for task, (table, _) in labels.items()}, trainer, plan.truth)


def _comparable(labels: Labels, dataset: Dataset, out: Path, watcher: Watcher) -> Labels:
    """The tasks that every model can learn and be asked about; the others are named and left out."""
    job = Job(dataset, out, labels, watcher, notes=Notes(watcher.note))
    taught = learnable(job, limit=None, seed=0)
    asked = [task for task in taught if of_subjects(labels[task][0], dataset.subject_ids(HELD_OUT)).num_rows]
    for task in sorted(set(taught) - set(asked)):
        watcher.say(f"{task}: no held-out labels; left out")
    if not asked:
        raise DataError("No held-out subject has a label of a task that can be learned. Label more subjects.")
    return {task: labels[task] for task in asked}
