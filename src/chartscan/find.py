"""From a name to the module that holds it: the file name is the registration.

`find("tasks", "readmission_30d")` imports `chartscan/tasks/readmission_30d.py`. Adding a source, task or
model means adding a file; there is no list to edit. A file that holds several names them itself: the keys of
TASKS in a file of `tasks`. Files that begin with an underscore are private. The package of another
distribution is named whole, such as `chartscan_lab.study`. From outside the package come files of the user
(`from_file`) and entry points of installed packages (`installed`).
"""

import ast
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from chartscan.errors import ConfigError, nearest


def names(package: str) -> list[str]:
    """Return the names of what one of our packages holds, sorted; no module of it is imported."""
    return sorted(_modules(package))


def find(package: str, name: str) -> Any:
    """Return the module `name`, or what a module gives that name. Dashes count as underscores.

    ConfigError with the nearest right name if there is none.
    """
    plain = name.replace("-", "_")
    known = _modules(package)
    if plain not in known:
        raise ConfigError(unknown(package.removesuffix("s"), plain, sorted(known)))
    module = importlib.import_module(f"{_whole(package)}.{known[plain]}")
    return module if known[plain] == plain else getattr(module, _several(package))[plain]


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
    """Return the message for a name that does not exist, with the nearest right one and all names."""
    return f"No {kind} named '{name}'.{nearest(name, known)}"


def described(package: str, having: str) -> dict[str, str]:
    """Public modules that assign the name `having` -> the first line of their docstring; none is imported."""
    found = {}
    for name in names(package):
        source = ast.parse(_source(package, name))
        targets = [t for node in source.body if isinstance(node, ast.Assign) for t in node.targets]
        if any(isinstance(t, ast.Name) and t.id == having for t in targets):
            found[name] = (ast.get_docstring(source) or "").partition("\n")[0]
    return found


def from_file(path: Path, kind: str) -> ModuleType:
    """The module in a Python file of the user; the file is executed anew at each call.

    ConfigError with file and line where there is no such file, or it fails. `kind` says what it should hold.
    """
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"{path}: no such Python file. Name the .py file of a {kind}.")
    module = ModuleType(f"chartscan_outside.{kind}.{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where annotations of its classes are looked up
    try:
        exec(
            compile(path.read_bytes(), str(path), "exec"), module.__dict__
        )  # no import: it would leave .pyc files
    except Exception as err:
        raise ConfigError(
            f"{_failed(err, path)} A {kind} is one file; what it imports must be installed."
        ) from err
    return module


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
    ours = names(package) if ours is None else ours
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
