"""From a dataset to LABELS on disk, of one task or of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chartscan.errors import check_settings
from chartscan.labels import MAX_UNKNOWN
from chartscan.labels.files import Labels, check_out, save_labels
from chartscan.labels.making import make_labels, refused_tasks, stays_of, vocabulary_note
from chartscan.labels.tasks import set_tasks, tasks_to_label
from chartscan.runs.job import Watcher
from chartscan.runs.work import check_apart
from chartscan.store.dataset import Dataset

ALL = "all"  # in place of a task


@dataclass(frozen=True)
class LabelPlan:
    """The arguments of the command."""

    task: str  # or ALL
    dataset: Path
    out: Path  # a file; a folder for ALL
    settings: Sequence[str] = ()  # of the task, and of stays
    site: Path | None = None  # a site file; None: the dataset's own
    max_unknown: float = MAX_UNKNOWN
    questions: bool = False
    task_files: Sequence[Path] = ()  # Python files of tasks of the user's own


def run_label(plan: LabelPlan, watcher: Watcher) -> tuple[Labels, dict[str, str]]:
    """Write LABELS (or QUESTIONS); return them by task, and by refused task the reason.

    DataError where every task is refused. ConfigError where `out` cannot hold the labels.
    """
    check_settings({"max_unknown (0 to 1)": 0 <= plan.max_unknown <= 1})
    check_apart(plan.out, plan.dataset)
    check_out(plan.out, as_folder=plan.task == ALL)
    dataset = Dataset.open(plan.dataset)
    wanted = tasks_to_label(plan.task, plan.task_files)
    stays, of_task = stays_of(dataset, plan.site, plan.settings)
    if note := vocabulary_note(dataset, plan.site):
        watcher.say(note)
    labels = make_labels(dataset, wanted, watcher, of_task, plan.questions, stays, plan.max_unknown)
    save_labels(labels, plan.out, plan.task == ALL, plan.questions)
    return labels, refused_tasks(dataset, set_tasks(wanted, of_task), plan.max_unknown)
