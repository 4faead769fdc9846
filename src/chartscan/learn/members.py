"""The members of an ensemble: their train subjects, and training those not yet finished."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from chartscan import artifact
from chartscan.errors import ConfigError
from chartscan.learn.calibration import limited
from chartscan.notes import Notes
from chartscan.runs import work
from chartscan.runs.job import Job
from chartscan.schema import HELD_OUT, TRAIN, TUNING


def strata(subject_ids: np.ndarray, labels: Iterable[pa.Table]) -> np.ndarray:
    """The stratum of each subject (n,): unlabelled, negative or positive in every task.

    A subject with several labels of a task is positive where any of them is.
    """
    found = np.zeros(len(subject_ids), np.int64)
    for table in labels:
        ids = table["subject_id"].to_numpy()
        positive = ids[table["boolean_value"].to_numpy(zero_copy_only=False).astype(bool)]
        found = 3 * found + np.isin(subject_ids, ids) + np.isin(subject_ids, positive)
    return found


def stratified_folds(subject_ids: np.ndarray, strata: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """The subjects as `folds` disjoint sorted lists, balanced by stratum.

    Sizes, and each stratum's share, differ by at most one. Decided by the sorted ids, their strata and the
    seed, not by their order.
    """
    order = np.argsort(subject_ids, kind="stable")
    ids, groups = subject_ids[order], strata[order]
    random = np.random.default_rng([seed, folds])
    shuffled = random.permutation(len(ids))
    dealt = shuffled[np.argsort(groups[shuffled], kind="stable")]  # stratum by stratum, like cards
    return [np.sort(ids[dealt[place::folds]]) for place in range(folds)]


# Finished members stay in the ensemble's working folder, so an interrupted ensemble resumes there.

FOLDER = "members"
SEEDS_APART = 1000  # between the seeds of members of ensembles whose own seeds follow each other


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recipe of an ensemble, trained once for each seed."""

    name: str
    recipe: Any  # its seed does not count
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        sound = len(set(self.seeds)) == len(self.seeds) and all(0 <= s < SEEDS_APART for s in self.seeds)
        if not self.seeds or not sound:
            raise ConfigError(
                f"seeds of the member {self.name}: expected different numbers from 0 to {SEEDS_APART - 1}."
            )


@dataclass(frozen=True)
class Training:
    """One member to train: a recipe, its seed, its train and tuning subjects."""

    entry: int  # its place among the recipes of the ensemble
    title: str  # for people
    folder: str  # for its artifact
    recipe: Any  # with its seed
    division: Mapping[str, np.ndarray]


def pooled_labels(job: Job, limit: int | None, seed: int) -> dict[str, pa.Table]:
    """LABELS of train and tuning by task, limited, sorted by subject and time."""
    found = {}
    for task in job.tasks:
        parts = [limited(job.labels_of(task, s), task, s, limit, seed) for s in (TRAIN, TUNING)]
        rows = pa.concat_tables(parts)
        found[task] = rows.sort_by([("subject_id", "ascending"), ("prediction_time", "ascending")])
    return found


def divisions(
    job: Job, labels: Mapping[str, pa.Table], folds: int | None, seed: int
) -> list[Mapping[str, np.ndarray]]:
    """Return train and tuning subjects of each member of one recipe and seed.

    Without folds as the job says; else each fold is used once for tuning, and the others for training.
    """
    train, tuning, held_out = (job.subjects(split) for split in (TRAIN, TUNING, HELD_OUT))
    if folds is None:
        return [{TRAIN: train, TUNING: tuning, HELD_OUT: held_out}]
    pool = np.sort(np.concatenate([train, tuning]))
    parts = stratified_folds(pool, strata(pool, labels.values()), folds, seed)
    return [{TRAIN: np.setdiff1d(pool, part), TUNING: part, HELD_OUT: held_out} for part in parts]


def trainings(
    job: Job, labels: Mapping[str, pa.Table], members: tuple[Member, ...], folds: int | None, seed: int
) -> list[Training]:
    """All trainings to do, ordered by member, seed and fold."""
    found = []
    for entry, member in enumerate(members):
        for own in member.seeds:
            number = seed * SEEDS_APART + own
            recipe = msgspec.structs.replace(member.recipe, seed=number)
            _check_not_refitted(member)
            for fold, division in enumerate(divisions(job, labels, folds, number)):
                where = "" if folds is None else f", fold {fold + 1}"
                title, folder = f"{member.name}, seed {number}{where}", f"{entry}-{number}-{fold}"
                found.append(Training(entry, title, folder, recipe, division))
    return found


def _check_not_refitted(member: Member) -> None:
    """ConfigError where the member would be trained on the tuning subjects that decide its weight."""
    if getattr(member.recipe, "refit", False):
        raise ConfigError(
            f"The member {member.name} is refitted on its tuning subjects, but its weight needs predictions "
            "for subjects that it was not trained on. Give it the setting refit=false."
        )


def job_of(job: Job, labels: Mapping[str, pa.Table], training: Training) -> Job:
    """The job of one member: its folder, split and notes, without held-out labels."""
    known = {task: (table, job.labels[task][1]) for task, table in labels.items()}
    place = job.work / FOLDER / training.folder
    return replace(job, out=place, labels=known, division=training.division, notes=Notes())


def trained(
    job: Job, labels: Mapping[str, pa.Table], wanted: list[Training]
) -> Iterator[tuple[Training, artifact.AnyArtifact]]:
    """Each member with its artifact, trained unless it is there already; tells the time left."""
    begin, done = time.monotonic(), 0
    for number, training in enumerate(wanted):
        mine = job_of(job, labels, training)
        if not mine.out.exists():
            left = f"; {_minutes((time.monotonic() - begin) / done * (len(wanted) - number))}" if done else ""
            job.watcher.say(f"member {number + 1} of {len(wanted)}: {training.title}{left}")
            work.begin(mine, training.recipe)
            training.recipe.train(mine)
            done += 1
        yield training, _loaded(mine.out, training)


def _loaded(folder: Path, training: Training) -> artifact.AnyArtifact:
    """The artifact of a member; ConfigError where another version of the recipe made it."""
    found = artifact.load(folder)
    now = msgspec.json.decode(msgspec.json.encode(training.recipe))
    if found.run["recipe"] != now:
        raise ConfigError(
            f"{folder} was trained with other settings than {training.title} has now. Choose another --out."
        )
    return found


def _minutes(seconds: float) -> str:
    return f"about {seconds / 60:,.0f} min left" if seconds >= 60 else f"about {seconds:,.0f} s left"
