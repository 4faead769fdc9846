"""A trained model and its folder: reader, learned part and calibration."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chartscan import files
from chartscan.artifact.description import (
    BLEND,
    CALIBRATION,
    MODEL,
    RUN,
    Description,
    read,
    read_run,
    require,
    same,
)
from chartscan.artifact.learned import LEARNERS, Learned, Progress
from chartscan.errors import ConfigError, DataError
from chartscan.inputs.readers import READERS, Reader, Records

MOST_DEPTH = 4  # of ensembles in one another


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Calibration of a task: calibrated log odds = intercept + slope * log odds.

    All of it comes from `rows` tuning samples; the default is the raw answer and a threshold of one half.
    """

    intercept: float = 0.0
    slope: float = 1.0
    threshold: float = 0.5  # of the calibrated probability: at or above it the decision is yes
    rows: int = 0

    def __post_init__(self) -> None:
        if not (abs(self.intercept) <= 1e4 and 0 < self.slope <= 1e4 and 0 <= self.threshold <= 1):
            raise ValueError("expected a finite intercept, a positive slope and a threshold of 0 to 1")
        if self.rows < 0:
            raise ValueError("a calibration is fitted on 0 or more rows")

    def probability(self, log_odds: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of the model's log odds."""
        return np.exp(-np.logaddexp(0.0, -(self.intercept + self.slope * np.asarray(log_odds, np.float64))))


R = TypeVar("R", bound=Reader, covariant=True)


@dataclass(frozen=True)
class Artifact(Generic[R]):
    """A reader, what was learned from it, and the calibration of its tasks."""

    reader: R
    learned: Learned
    tasks: tuple[str, ...] = ()  # in the order they were learned in
    calibration: Mapping[str, Calibration] = field(default_factory=dict)  # by task
    run: Mapping[str, Any] = field(default_factory=dict)  # seed, versions, data: anything JSON can hold

    @property
    def name(self) -> str:
        """Of the model's file, in models/ or tabular/."""
        return self.learned.name

    @property
    def title(self) -> str:
        """The name for reports."""
        return self.learned.title

    @property
    def network(self) -> Any:
        """The network; None where it is tabular models that have learned."""
        return self.learned if self.learned.LEARNER == "network" else None

    def singles(self, task: str | None = None) -> Iterator["Artifact[Reader]"]:
        """Yield the artifact itself; see `Ensemble.singles`."""
        yield self

    def voices(self, task: str) -> list[tuple["AnyArtifact", float]]:
        """What answers `task`, and its weight: the artifact alone."""
        return [(self, 1.0)]

    def log_odds(
        self, records: Mapping[Any, Records], labels: Mapping[str, pa.Table], progress: Progress
    ) -> dict[str, np.ndarray]:
        """Raw log odds by task, rows as in `labels`; `records` by reader key."""
        return self.learned.log_odds(records[self.reader.key], self.tasks, labels, progress)

    def check(self) -> None:
        """ConfigError where the parts do not belong together."""
        _check_calibration(self.calibration, self.tasks)
        self.reader.check_tasks(self.tasks)
        self.learned.check(self.reader)

    def save(self, staging: Path) -> Description:
        """Writes reader and learned parts."""
        self.reader.save(staging)
        return Description(
            reader=self.reader.NAME,  # type: ignore[arg-type]
            learner=self.learned.LEARNER,  # type: ignore[arg-type]
            name=self.name,
            tasks=self.tasks,
            reader_hash=self.reader.hash,
            **self.learned.save(staging),
        )


class Blend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What blend.json says of one task."""

    weights: tuple[float, ...]  # in the order of the members
    intercept: float

    def __post_init__(self) -> None:
        if max(map(abs, (*self.weights, self.intercept))) > 1e6:
            raise ValueError("a weight or an intercept beyond a million")


@dataclass(frozen=True)
class Ensemble:
    """Members and their blend: log odds = intercept + members' log odds @ weights.

    The members' log odds are raw: their own calibrations and decisions play no part. A member whose
    weight for a task is 0 does not predict it and need not be trained for it: each may have its own model.
    """

    name: str
    members: tuple["AnyArtifact", ...]
    weights: Mapping[str, NDArray[np.float64]]  # by task, (M,) in the order of the members
    intercept: Mapping[str, float] = field(default_factory=dict)  # by task; 0 where none is given
    calibration: Mapping[str, Calibration] = field(default_factory=dict)  # of the blended log odds
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of `weights`."""
        return tuple(self.weights)

    @property
    def title(self) -> str:
        """The name for reports: that of its members' where all have the same."""
        titles = {member.title for member in self.members}
        return titles.pop() if len(titles) == 1 and self.members[0].name == self.name else self.name

    @property
    def network(self) -> Any:
        """None: an ensemble is no network."""
        return None

    def singles(self, task: str | None = None) -> Iterator[Artifact[Reader]]:
        """Yield every single model with a weight for `task` (default: for any)."""
        for place, member in enumerate(self.members):
            if task is None or self.weights[task][place]:
                yield from member.singles(task)

    def voices(self, task: str) -> list[tuple["AnyArtifact", float]]:
        """The members that answer `task`, and their weights."""
        pairs = zip(self.members, self.weights[task], strict=True)
        return [(member, float(weight)) for member, weight in pairs if weight]

    def log_odds(
        self, records: Mapping[Any, Records], labels: Mapping[str, pa.Table], progress: Progress
    ) -> dict[str, np.ndarray]:
        """The members' raw log odds, blended; each is asked where it counts."""
        members = {t: np.zeros((table.num_rows, len(self.members))) for t, table in labels.items()}
        shares = _Shares(progress, len(self.members))
        for place, member in enumerate(self.members):
            asked = {t: table for t, table in labels.items() if self.weights[t][place]}
            found = member.log_odds(records, asked, shares.of_next()) if asked else {}
            for task, answers in found.items():
                members[task][:, place] = answers
        return {t: self.blended(t, members[t]) for t in labels}

    def blended(self, task: str, log_odds: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log odds (n,) of one task from those of the members (n, M)."""
        weights = np.asarray(self.weights[task], np.float64)
        return self.intercept.get(task, 0.0) + np.asarray(log_odds, np.float64) @ weights

    def check(self) -> None:
        """ConfigError unless every task has a finite weight for each member."""
        _check_calibration(self.calibration, self.tasks)
        if not self.members:
            raise ConfigError("An ensemble needs at least one member.")
        for task, weights in self.weights.items():
            if np.shape(weights) != (len(self.members),):
                raise ConfigError(
                    f"The ensemble's weights for {task}: expected {len(self.members)}, one for each member, "
                    f"found shape {np.shape(weights)}."
                )
            if not np.isfinite([*weights, self.intercept.get(task, 0.0)]).all():
                raise ConfigError(f"The ensemble's weights for {task} are not all finite.")
            unlearned = [i for i in np.flatnonzero(weights) if task not in self.members[i].tasks]
            if unlearned:
                raise ConfigError(f"Member {unlearned[0]} of the ensemble has not learned {task}.")

    def save(self, staging: Path) -> Description:
        """Writes the blend and the members."""
        for place, member in enumerate(self.members):
            save(staging / member_folder(place), member)
        blend = {
            task: Blend(tuple(np.asarray(w, np.float64).tolist()), float(self.intercept.get(task, 0.0)))
            for task, w in self.weights.items()
        }
        files.write_json(staging / BLEND, msgspec.to_builtins(blend))
        return Description(learner="ensemble", name=self.name, tasks=self.tasks, members=len(self.members))


AnyArtifact = Artifact[Reader] | Ensemble


def save(folder: Path, artifact: AnyArtifact) -> None:
    """Publishes `artifact` as `folder`; ConfigError where that exists or the parts do not belong together."""
    artifact.check()
    with files.sealed(folder) as staging:
        about = artifact.save(staging)
        files.write_json(staging / MODEL, msgspec.to_builtins(about))
        files.write_json(staging / CALIBRATION, msgspec.to_builtins(dict(artifact.calibration)))
        files.write_json(staging / RUN, dict(artifact.run))


def load(folder: Path, device: str = "cpu", depth: int = 0) -> AnyArtifact:
    """Load the artifact in `folder`, in evaluation mode, networks on `device`.

    Nothing in it is trusted: a manifest that fits its files says that they are whole, not who wrote them.
    `depth` is how many ensembles it is a member of, one in the other.

    Raises DataError naming the file that is missing, damaged or does not fit the others, and ConfigError for
    a model that this version does not know.
    """
    if depth > MOST_DEPTH:
        raise DataError(f"{folder}: ensembles within ensembles, more than {MOST_DEPTH} deep.")
    names = _verified(folder)
    require(folder, names, MODEL, CALIBRATION, RUN)
    about = read(folder / MODEL, Description).current()
    calibration = read(folder / CALIBRATION, dict[str, Calibration])
    run = read_run(folder / RUN)
    if about.learner == "ensemble":
        found: AnyArtifact = _ensemble(folder, names, about, calibration, run, device, depth)
    else:
        reader = _reader(folder, names, about)
        learner = LEARNERS[about.learner]
        require(folder, names, *learner.files(about))
        learned = learner.load(folder, about, reader, device)
        found = Artifact(reader, learned, about.tasks, calibration, run)
    try:
        found.check()
    except ConfigError as err:
        raise DataError(f"{folder}: its files do not belong together. {err}") from err
    return found


def load_run(folder: Path) -> dict[str, Any]:
    """Return the run record in `folder`, even of unknown models; DataError as `load`."""
    names = _verified(folder)
    require(folder, names, MODEL, CALIBRATION, RUN)
    return read_run(folder / RUN)


def _verified(folder: Path) -> list[str]:
    """Names of the files of an artifact, whose bytes are checked."""
    if folder.exists() and not (folder / MODEL).is_file():
        raise DataError(f"{folder} is not a trained model: it has no {MODEL}. Train one: chartscan train")
    return files.verify(folder)


def member_folder(place: int) -> str:
    """Name of a member's folder."""
    return f"member-{place}"


def _reader(folder: Path, names: list[str], about: Description) -> Reader:
    """The reader of `folder`; DataError unless it is the one that model.json was written with."""
    kind = READERS[about.reader]
    require(folder, names, *kind.files())
    reader = kind.load(folder)
    same(folder / kind.files()[0], reader.hash, about.reader_hash)
    return reader


def _ensemble(
    folder: Path,
    names: list[str],
    about: Description,
    calibration: Mapping[str, Calibration],
    run: Mapping[str, Any],
    device: str,
    depth: int,
) -> Ensemble:
    places = [member_folder(place) for place in range(about.members)]
    require(folder, names, BLEND, *(f"{place}/{files.MANIFEST}" for place in places))
    blend = read(folder / BLEND, dict[str, Blend])
    if set(blend) != set(about.tasks) or any(len(b.weights) != about.members for b in blend.values()):
        raise DataError(
            f"{folder / BLEND} does not have a weight of each of the {about.members} members for every task."
        )
    return Ensemble(
        name=about.name,
        members=tuple(load(folder / place, device, depth + 1) for place in places),
        weights={task: np.array(blend[task].weights) for task in about.tasks},
        intercept={task: blend[task].intercept for task in about.tasks},
        calibration=calibration,
        run=run,
    )


def _check_calibration(calibration: Mapping[str, Calibration], tasks: tuple[str, ...]) -> None:
    strangers = sorted(set(calibration) - set(tasks))
    if strangers:
        raise ConfigError(
            f"There is a calibration of {', '.join(strangers)}, which the model has not learned."
        )


class _Shares:
    """One progress of several members; those to come are expected to take as long as the ones so far."""

    def __init__(self, progress: Progress, members: int):
        self._progress, self._members = progress, members
        self._begun, self._before, self._now = 0, 0, 0

    def of_next(self) -> Progress:
        """The progress function of the next member."""
        self._begun, self._before = self._begun + 1, self._before + self._now
        self._now = 0
        return self._report

    def _report(self, done: int, total: int | None) -> None:
        self._now = done
        so_far = None if total is None else self._before + total
        expected = None if so_far is None else round(so_far * self._members / self._begun)
        self._progress(self._before + done, expected)
