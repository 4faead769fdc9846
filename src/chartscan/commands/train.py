"""A recipe by name -> a trained artifact."""

from pathlib import Path
from typing import Any

import msgspec

from chartscan.errors import ConfigError
from chartscan.labels import MAX_UNKNOWN
from chartscan.labels.belonging import check_labels
from chartscan.labels.files import Labels, cohort_lines, labels_line, load_labels
from chartscan.learn.calibration import few_train_events
from chartscan.learn.ensembles import EnsembleRecipe
from chartscan.learn.members import Member
from chartscan.learn.networks import NetworkRecipe
from chartscan.learn.trees import TabularRecipe
from chartscan.notes import Notes, warnings_as_notes
from chartscan.recipes import find_recipe, known_recipe, with_objective
from chartscan.runs import work
from chartscan.runs.job import Job, Watcher
from chartscan.runs.seen import dataset_notes
from chartscan.settings import with_settings
from chartscan.store.dataset import Dataset
from chartscan.training.record import check_installed

Recipe = NetworkRecipe | TabularRecipe | EnsembleRecipe


def recipe_of(name: str, settings: list[str], objective: Path | None = None) -> Recipe:
    """Return the recipe `name`, or of a model's file, with settings and objective applied.

    ConfigError with the known recipes where there is none.
    """
    name = known_recipe(name)
    recipe = find_recipe(name)
    if objective:
        recipe = with_objective(recipe, name, objective)
    return with_settings(recipe, settings, named={"members": _members})


class _WrittenMember(msgspec.Struct, forbid_unknown_fields=True):
    """A member of an ensemble as users write it."""

    recipe: str
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)


def _members(written: Any) -> tuple[Member, ...]:
    """Members as written after --set: from names to recipes."""
    found = msgspec.convert(written, list[_WrittenMember])
    named = [(known_recipe(one.recipe), one) for one in found]
    return tuple(Member(name, recipe_of(name, list(one.settings)), one.seeds) for name, one in named)


def check_trackable(name: str, recipe: Recipe) -> None:
    """ConfigError where --track has nothing to follow, MissingExtra where it cannot."""
    if recipe.untracked:
        raise ConfigError(
            f"--track follows the steps of a network. {name} has nothing to track: {recipe.untracked}. "
            "Leave --track out."
        )
    check_installed()


def can_start(name: str) -> bool:
    """Whether the recipe can begin with the weights of a trained artifact."""
    return hasattr(recipe_of(name, []), "start_from")


def refused_without_labels(data: Path) -> dict[str, str]:
    """Why tasks are refused, by task, where a training without labels labels all of them."""
    from chartscan.labels.making import refused_tasks
    from chartscan.labels.tasks import set_tasks

    return refused_tasks(Dataset.open(data), set_tasks(None, []), MAX_UNKNOWN)


def _labelled(dataset: Dataset, watcher: Watcher, notes: Notes) -> Labels:
    """Labels of every task, made now; their cohorts are shown."""
    from chartscan.labels.making import make_labels

    found = make_labels(dataset, None, watcher, notes=notes)
    for line in cohort_lines(found):
        watcher.say(line)
    return found


def run_train(
    name: str,
    data: Path,
    out: Path,
    labels: Path | None,
    settings: list[str],
    watcher: Watcher,
    resume: bool = False,
    threads: int = 1,
    device: str = "cpu",
    track: Path | None = None,
    objective: Path | None = None,
) -> Path:
    """Trains recipe `name` on the train subjects of `data` and publishes the artifact at `out`.

    `name` may be the Python file of a model, and `objective` that of the objective of its head.
    """
    recipe = recipe_of(name, settings, objective)
    if track:
        check_trackable(name, recipe)
    with work.reserved(out, resume):
        dataset, notes = Dataset.open(data), Notes(watcher.note)
        found = load_labels(labels, notes=notes) if labels else _labelled(dataset, watcher, notes)
        check_labels(found, dataset, notes)
        watcher.say(labels_line(found))
        job = Job(dataset, out, found, watcher, resume, threads, device, track, notes=notes)
        notes.extend(dataset_notes(dataset))
        notes.extend(few_train_events(job, recipe.label_limit, recipe.seed))
        work.begin(job, recipe)
        with warnings_as_notes(notes):
            return recipe.train(job)
