"""From a name to the module that holds it: the file name is the registration.

`find("tasks", "readmission_30d")` imports `chartscan/tasks/readmission_30d.py`. Adding a source, task or
model means adding a file; there is no list to edit. Files that begin with an underscore are private.
"""

import difflib
import importlib
import pkgutil
from types import ModuleType

from chartscan.errors import ConfigError


def names(package: str) -> list[str]:
    """Names of the public modules of one of our packages, sorted."""
    path = importlib.import_module(f"chartscan.{package}").__path__
    return sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))


def find(package: str, name: str) -> ModuleType:
    """The module `name` (dashes count as underscores); ConfigError with the nearest right name if none."""
    module = name.replace("-", "_")
    known = names(package)
    if module not in known:
        near = difflib.get_close_matches(module, known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"No {package} named '{name}'.{hint} Known: {', '.join(known)}.")
    return importlib.import_module(f"chartscan.{package}.{module}")
