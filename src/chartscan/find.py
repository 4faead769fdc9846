"""From a name to the module that holds it: the file name is the registration.

`find("tasks", "readmission_30d")` imports `chartscan/tasks/readmission_30d.py`. Adding a source, task or
model means adding a file; there is no list to edit. A file that holds several names them itself: the keys of
TASKS in a file of `tasks`. Files that begin with an underscore are private. The package of another
distribution is named whole, such as `chartscan_lab.study`.

From outside the package come files of the user and entry points of installed packages. Models, tabular
models, objectives and sources (`NEEDED`) are then found like ours: a file once it was registered
(`register`), a package without being asked. Tasks and metrics are checked and kept by those who use them
(`from_file`, `installed`, `from_entry_point`).
"""

import ast
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from chartscan.errors import ConfigError, nearest

_CONFIG = "class Config(msgspec.Struct, frozen=True), with a default for each setting"
KINDS = {"models": "model", "tabular": "tabular model", "objectives": "objective", "sources": "source"}
NEEDED: dict[str, dict[str, str]] = {  # of a module from outside, by package: name -> how to write it
    "models": {
        "Model": "class Model(torch.nn.Module), or fit and load for a tabular model",
        "Model.INPUT": 'INPUT = "tokens", "triplets" or "carried"',
        "Model.HEAD": 'HEAD = "prompted" for tokens, "classification" for time series',
        "Model.PRETRAINING": 'PRETRAINING = None, or the name of an objective such as "next_event"',
        "Config": _CONFIG,
    },
    "tabular": {
        "fit": "def fit(matrix, y, *, tuning, config, seed, threads), which returns a fitted model",
        "load": "def load(path), which returns the model that its save(path) wrote",
        "Config": _CONFIG,
    },
    "objectives": {
        "make": "def make(model, n_tasks, config), which returns a head with loss, predict and start_at",
        "Config": _CONFIG,
    },
    "sources": {"read": "def read(path, writer, config, progress)", "Config": _CONFIG},
}


@dataclass(frozen=True)
class Outside:
    """A module that is no part of chartscan."""

    module: ModuleType
    origin: str  # file name and digest, or package and version: for records


_OUTSIDE: dict[tuple[str, str], Outside] = {}  # of this process, by package and name


def names(package: str) -> list[str]:
    """Return the sorted names in a package, outside files included, without imports."""
    return sorted({*_modules(package), *outside_names(package)})


def outside_names(package: str) -> list[str]:
    """Return the names known from outside one of our packages: files registered, and entry points."""
    registered = {name for room, name in _OUTSIDE if room == package}
    offered = package in KINDS and installed(package, ()) and installed(package)  # seldom looks at ours
    return sorted({*registered, *(offered or ())})


def find(package: str, name: str) -> Any:
    """Return the module `name`, or what a module gives that name. Dashes count as underscores.

    ConfigError with the nearest right name if there is none.
    """
    plain = name.replace("-", "_")
    known = _modules(package)
    if plain in known:
        module = importlib.import_module(f"{_whole(package)}.{known[plain]}")
        return module if known[plain] == plain else getattr(module, _several(package))[plain]
    if plain not in outside_names(package):
        hint = (
            f" {_one(package).capitalize()} of your own is named by its .py file." if package in KINDS else ""
        )
        raise ConfigError(unknown(package.removesuffix("s"), plain, names(package)) + hint)
    if (package, plain) not in _OUTSIDE:
        _OUTSIDE[package, plain] = _from_package(package, installed(package, known)[plain])
    return _OUTSIDE[package, plain].module


def name_of(package: str, value: object) -> str:
    """Return the name in `package` of the module that defines `value`'s class."""
    module = type(value).__module__
    for (room, name), known in _OUTSIDE.items():
        if room == package and known.module.__name__ == module:
            return name
    offered = {} if module.startswith("chartscan.") else installed(package, ())
    return next((n for n, one in offered.items() if one.value == module), module.rpartition(".")[2])


def outside_parts(settings: Any) -> dict[str, str]:
    """Return the origin of outside code that settings depend on.

    Such as "models my_model" -> file name and digest. Groups of settings within others count, too.
    """
    found = {}
    for (package, name), one in _OUTSIDE.items():
        if type(settings).__module__ == one.module.__name__:
            found[f"{package} {name}"] = one.origin
    within = settings if isinstance(settings, tuple | list) else getattr(settings, "__struct_fields__", ())
    for part in within:
        value = part if within is settings else getattr(settings, part)
        if hasattr(value, "__struct_fields__") or isinstance(value, tuple | list):
            found |= outside_parts(value)
    return found


def outside_line(err: BaseException) -> str | None:
    """Return file and line of the last outside code in a traceback; else None."""
    files = {one.module.__file__ for one in _OUTSIDE.values()}
    lines = [frame for frame in traceback.extract_tb(err.__traceback__) if frame.filename in files]
    return f"{lines[-1].filename}, line {lines[-1].lineno}" if lines else None


def register(path: Path, *packages: str) -> tuple[str, str]:
    """Register a user's Python file for this process; return package and name.

    It becomes part of the one of `packages` that it fits best. The file is executed, unless it was and has
    not changed. ConfigError that says which name is missing, or that the file's name is taken.
    """
    name = path.stem.replace("-", "_")
    kind = KINDS[packages[0]]
    for package in packages:
        if name in _modules(package) or name in installed(package, ()):
            raise ConfigError(f"{path}: there is {_one(package)} named '{name}' already. Rename the file.")
    if path.is_file() and (not name.isidentifier() or name.startswith("_")):
        raise ConfigError(
            f"{path}: '{name}' can name no {kind}. Rename the file; use letters, digits and '_', such as "
            f"my_{kind}.py."
        )
    module = _module_for(path, kind)
    one = Outside(module, f"{path.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
    for package in packages:
        before = _OUTSIDE.get((package, name))
        if before and (before.origin, before.module.__file__) == (one.origin, module.__file__):
            return package, name
    kept = dict(_OUTSIDE)
    # Known while it is executed: a RECIPE in it is checked against the Model above it.
    _OUTSIDE.update({(package, name): one for package in packages})
    try:
        _execute(module, path, kind)
        package = min(packages, key=lambda package: len(_lacking(module, package)))
        _check(module, package, str(path))
    except BaseException:
        _OUTSIDE.clear()
        _OUTSIDE.update(kept)
        raise
    for other in set(packages) - {package}:
        del _OUTSIDE[other, name]
    return package, name


def _from_package(package: str, point: EntryPoint) -> Outside:
    """The module of an installed package. While that is being imported, what there is of it."""
    half = sys.modules.get(point.value)
    module, place = (half, _place(point)) if half else from_entry_point(point, KINDS[package])
    _check(module, package, place)
    return Outside(module, f"{point.dist.name} {point.dist.version}" if point.dist else point.value)


def _lacking(module: ModuleType, package: str) -> list[str]:
    """The names that a module lacks to be part of `package`."""
    found = []
    for name in NEEDED[package]:
        first, _, second = name.partition(".")
        inner = second and hasattr(module, first) and not hasattr(getattr(module, first), second)
        if inner or not (second or hasattr(module, first)):
            found.append(name)
    return found


def _check(module: ModuleType, package: str, place: str) -> None:
    """ConfigError where a module is not what `package` needs."""
    page = f"See docs/extend-{KINDS[package].split()[-1]}.md."
    for name in _lacking(module, package):
        raise ConfigError(f"{place}: {_one(package)} needs {name}. Write: {NEEDED[package][name]}. {page}")
    config: Any = module.Config
    if not isinstance(config, type) or not hasattr(config, "__struct_fields__"):
        raise ConfigError(f"{place}: Config is not as needed. Write: {_CONFIG}. {page}")
    if config.__module__ != module.__name__:  # by it the settings of a run find their module
        raise ConfigError(
            f"{place}: Config comes from {config.__module__}. Define one here; it may inherit: from "
            f"{config.__module__} import Config as Base, then class Config(Base, frozen=True). {page}"
        )


def _one(package: str) -> str:
    """The kind of module that a package holds, with its article."""
    return f"{'an' if KINDS[package][0] in 'aeiou' else 'a'} {KINDS[package]}"


def _modules(package: str) -> dict[str, str]:
    """The public module that holds each name: its own, or those it gives to several things, as in TASKS."""
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(importlib.import_module(_whole(package)).__path__):
        if not module.name.startswith("_"):
            keys = _keys(_source(package, module.name), _several(package))
            found |= dict.fromkeys(keys or [module.name], module.name)
    return found


def _several(package: str) -> str:
    """What a module of `package` calls the things it holds, where they are several: TASKS of `tasks`."""
    return package.rpartition(".")[2].upper()


def _keys(source: str, constant: str) -> list[str]:
    """The keys of the dictionary that a module assigns to `constant`; none where it does not."""
    if f"\n{constant} = {{" not in source:
        return []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == constant:
            return [
                str(key.value) for key in getattr(node.value, "keys", []) if isinstance(key, ast.Constant)
            ]
    return []


def _source(package: str, module: str) -> str:
    spec = importlib.util.find_spec(f"{_whole(package)}.{module}")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin)
    return path.read_text(encoding="utf-8") if path.suffix == ".py" else ""


def _whole(package: str) -> str:
    return package if package.startswith("chartscan_") else f"chartscan.{package}"


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """Return the message for an unknown name, with the nearest name and all."""
    return f"No {kind} named '{name}'.{nearest(name, known)}"


def described(package: str, having: str) -> dict[str, str]:
    """Return docstring lines of public modules that assign `having`, without importing them."""
    found = {}
    for name in names(package):
        source = ast.parse(_source(package, name))
        targets = [t for node in source.body if isinstance(node, ast.Assign) for t in node.targets]
        if any(isinstance(t, ast.Name) and t.id == having for t in targets):
            found[name] = (ast.get_docstring(source) or "").partition("\n")[0]
    return found


def from_file(path: Path, kind: str) -> ModuleType:
    """Return the module in a user's Python file, executed anew at each call.

    ConfigError with file and line where there is no such file, or it fails. `kind` says what it should hold.
    """
    module = _module_for(path, kind)
    _execute(module, path, kind)
    return module


def _module_for(path: Path, kind: str) -> ModuleType:
    """An empty module for a Python file; ConfigError where there is none."""
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"{path}: no such Python file. Name the .py file of a {kind}.")
    module = ModuleType(f"chartscan_outside.{kind}.{path.stem}")
    module.__file__ = str(path)
    return module


def _execute(module: ModuleType, path: Path, kind: str) -> None:
    sys.modules[module.__name__] = module  # where annotations of its classes are looked up
    try:  # no import: it would leave .pyc files
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except Exception as err:
        raise ConfigError(
            f"{_failed(err, path)} A {kind} is one file; what it imports must be installed."
        ) from err


def _failed(err: Exception, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(err.__traceback__) if frame.filename == str(path)]
    line = err.lineno if isinstance(err, SyntaxError) else lines[-1] if lines else None
    place = f"{path}, line {line}" if line else str(path)
    return f"{place}: {type(err).__name__}: {err.msg if isinstance(err, SyntaxError) else err}."


def installed(package: str, ours: Collection[str] | None = None) -> dict[str, EntryPoint]:
    """What other distributions offer under the entry point `chartscan.PACKAGE`, by name; nothing is imported.

    ConfigError where one takes a name of `ours` (default: the modules of PACKAGE), or two take the same.
    """
    found: dict[str, EntryPoint] = {}
    ours = _modules(package) if ours is None else ours
    for point in entry_points(group=f"chartscan.{package}"):
        name = point.name.replace("-", "_")
        if name in ours or (name in found and found[name].value != point.value):
            raise ConfigError(
                f"{_place(point)}: there is a {package.removesuffix('s')} named '{name}' already. "
                "Uninstall the package, or ask its authors for another name."
            )
        found[name] = point
    return dict(sorted(found.items()))


def from_entry_point(point: EntryPoint, kind: str) -> tuple[ModuleType, str]:
    """The module that an entry point names, and words that say where it comes from.

    ConfigError where it cannot be imported, or is no module.
    """
    try:
        loaded = point.load()
    except Exception as err:
        raise ConfigError(
            f"{_place(point)}: {type(err).__name__}: {err}. Mend or uninstall the package."
        ) from err
    if not isinstance(loaded, ModuleType):
        raise ConfigError(f"{_place(point)}: expected the module of a {kind}, found {type(loaded).__name__}.")
    return loaded, _place(point)


def _place(point: EntryPoint) -> str:
    package = f"package {point.dist.name}, " if point.dist else ""
    return f"{package}entry point {point.group}: {point.name} = {point.value}"
