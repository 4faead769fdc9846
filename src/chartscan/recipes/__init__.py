"""The catalogue: settings by which models are trained. A file that assigns RECIPE is found by its name.

Knows no command. What trains by these settings stands in `learn`.
"""

from types import ModuleType

from chartscan.errors import ConfigError
from chartscan.find import described, find, unknown


def recipe_names() -> list[str]:
    """Names of the modules of this package that hold a RECIPE, sorted, as users write them: with dashes."""
    return sorted(name.replace("_", "-") for name in described("recipes", "RECIPE"))


def find_recipe(name: str) -> ModuleType:
    """The module of the recipe `name` (underscores count as dashes); ConfigError with the nearest if none."""
    wanted, known = name.replace("_", "-"), recipe_names()
    if wanted not in known:
        raise ConfigError(unknown("recipe", wanted, known))
    return find("recipes", wanted)
