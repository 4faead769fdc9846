"""From a name to the module that holds it: the file name is the registration.

`find("tasks", "readmission_30d")` imports `chartscan/tasks/readmission_30d.py`. Adding a source, task or
model means adding a file; there is no list to edit. Files that begin with an underscore are private. The
package of another distribution is named whole, such as `chartscan_lab.study`.
"""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from chartscan.errors import ConfigError


def names(package: str) -> list[str]:
    """Names of the public modules of one of our packages, sorted."""
    path = importlib.import_module(_whole(package)).__path__
    return sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))


def find(package: str, name: str) -> ModuleType:
    """The module `name` (dashes count as underscores); ConfigError with the nearest right name if none."""
    module = name.replace("-", "_")
    known = names(package)
    if module not in known:
        raise ConfigError(unknown(package.removesuffix("s"), module, known))
    return importlib.import_module(f"{_whole(package)}.{module}")


def _whole(package: str) -> str:
    return package if package.startswith("chartscan_") else f"chartscan.{package}"


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """What to say of a `kind` that does not exist: the nearest right name, and all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"No {kind} named '{name}'.{hint} Known: {', '.join(known)}."


def described(package: str, having: str) -> dict[str, str]:
    """Public modules that assign the name `having` -> the first line of their docstring; none is imported."""
    found = {}
    for name in names(package):
        spec = importlib.util.find_spec(f"{_whole(package)}.{name}")
        assert spec is not None
        assert spec.origin is not None
        source = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        targets = [t for node in source.body if isinstance(node, ast.Assign) for t in node.targets]
        if any(isinstance(t, ast.Name) and t.id == having for t in targets):
            found[name] = (ast.get_docstring(source) or "").partition("\n")[0]
    return found
