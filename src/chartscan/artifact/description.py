"""The small files of an artifact folder: their names, model.json, and reading them without trust."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from chartscan import files
from chartscan.errors import ChartscanError, DataError

WEIGHTS = "weights.safetensors"
MODEL, CALIBRATION, RUN, BLEND = "model.json", "calibration.json", "run.json", "blend.json"
Head = Literal["head", "probe", "forecast", "masked"]

MOST_MEMBERS = 1000

T = TypeVar("T")


# (reader, learner) of the kinds of model that format 1 knew
_FAMILIES = {
    "sequence": ("tokens", "network"),
    "series": ("hourly", "network"),
    "tabular": ("tokens", "tabular"),
    "summary": ("hourly", "tabular"),
    "ensemble": ("", "ensemble"),
}


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """model.json. Fields that do not apply are empty."""

    format: Literal[1, 2] = 2
    reader: Literal["tokens", "hourly", ""] = ""  # empty: of an ensemble
    learner: Literal["network", "tabular", "ensemble", ""] = ""
    name: str
    config: dict[str, Any] = {}
    tasks: tuple[str, ...]
    heads: tuple[Head, ...] = ()
    head_config: dict[str, Any] = {}
    objective: str = ""  # of the head; empty where a folder does not say: the one that the model's HEAD names
    reader_hash: str = ""  # of the reader that the weights were trained with
    members: int = 0  # artifacts in an ensemble
    family: Literal["sequence", "series", "tabular", "summary", "ensemble", ""] = ""  # of format 1
    vocabulary: str = ""  # of format 1: the hash of a reader of tokens
    variables: str = ""  # of format 1: the hash of a reader of time series

    def __post_init__(self) -> None:
        current = bool(self.learner) and (bool(self.reader) == (self.learner != "ensemble"))
        if (self.format == 1) != bool(self.family) or (self.format == 1) == current:
            raise ValueError("expected reader and learner of format 2, or the family of format 1")
        if len(self.tasks) != len(set(self.tasks)) or not all(map(_is_name, (self.name, *self.tasks))):
            raise ValueError("expected a name and distinct tasks of 1 to 200 printable characters, without /")
        if len(self.heads) != len(set(self.heads)) or not 0 <= self.members <= MOST_MEMBERS:
            raise ValueError(f"heads or members: expected distinct heads, at most {MOST_MEMBERS} members")

    def current(self) -> "Description":
        """The same in format 2."""
        if self.format == 2:
            return self
        reader, learner = _FAMILIES[self.family]
        return msgspec.structs.replace(
            self,
            format=2,
            reader=reader,
            learner=learner,
            reader_hash=self.vocabulary or self.variables,
            family="",
            vocabulary="",
            variables="",
        )


class _Settings(msgspec.Struct, frozen=True):
    task: dict[str, Any] = {}
    stays: dict[str, Any] = {}


class _Learned(msgspec.Struct, frozen=True):
    settings: _Settings = msgspec.field(default_factory=_Settings)


class _Record(msgspec.Struct, frozen=True):
    """The parts of run.json that are used later. What else it holds is shown, not used."""

    labels: dict[str, _Learned] = {}
    data: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    curves: dict[str, list[dict[str, float | None]]] = {}


def _is_name(task: str) -> bool:
    return 0 < len(task) <= 200 and task.isprintable() and not set(task) & {"/", "\\"}


def read(path: Path, type_: type[T]) -> T:
    """The JSON in `path` as `type_`; DataError where it is anything else."""
    return files.read_json(path, type_, "what this version of chartscan writes")


def read_run(path: Path) -> dict[str, Any]:
    """The run record in `path`; DataError if a part has an unexpected shape."""
    run = read(path, dict[str, Any])
    try:
        curves = msgspec.convert(run, _Record).curves
        steps = [row.get("step") for rows in curves.values() for row in rows]
        if not all(name.count("/") == 1 for name in curves) or None in steps:
            raise ValueError("curves are not those of a training")
    except ValueError as err:
        raise DataError(f"{path} is not the record of a training: {err}.") from err
    return run


def settings(folder: Path, content: dict[str, Any], type_: type[T], of: str) -> T:
    """`content` of model.json as a Config; DataError where it is none of `of`."""
    try:
        return msgspec.convert(content, type_)
    except (msgspec.ValidationError, ChartscanError) as err:
        raise DataError(f"{folder / MODEL}: not settings of the {of}: {err}.") from err


def require(folder: Path, names: Iterable[str], *wanted: str) -> None:
    """DataError naming the first of `wanted` that is not among the `names` of the manifest."""
    for name in wanted:
        if name not in names:
            raise DataError(f"{folder / name} is missing from {files.MANIFEST}: not a complete artifact.")


def same(path: Path, found: str, wanted: str) -> None:
    """DataError unless the hash of `path` is the one in model.json."""
    if found != wanted:
        raise DataError(f"{path} is not the file of {path.stem} that {MODEL} was trained with.")
