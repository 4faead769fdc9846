"""The catalogue of recipes as text, and every setting of one recipe."""

import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from chartscan.recipes import ABOUT, find_recipe, known_recipe, outside_recipes, recipe_names


def catalogue_lines() -> Iterator[str]:
    """Each recipe with what it is for; imports no model."""
    about = ABOUT | outside_recipes()
    width = max(map(len, about)) + 2
    for name in recipe_names():
        yield _wrapped(about[name], f"{name:<{width}}", " " * width)
    yield ""
    yield "Every setting of one: chartscan recipes NAME"


def recipe_lines(name: str) -> Iterator[str]:
    """Return lines about a recipe: purpose, settings for --set, and the training command.

    ConfigError with the nearest name where there is no such recipe.
    """
    given, name = name, known_recipe(name).replace("_", "-")
    recipe = find_recipe(name)
    yield _wrapped(f"{name}: {(ABOUT | outside_recipes())[name]}")
    yield ""
    yield from setting_lines(recipe)
    yield ""
    members = sorted({member.name for member in getattr(recipe, "members", ())})
    if members:
        yield f"Settings of its members: {', '.join(f'chartscan recipes {member}' for member in members)}"
    yield "A setting that is null is not used. Change one with --set NAME=VALUE. To train it:"
    name = given if given.endswith(".py") else name
    yield f"chartscan train {name} --data DATASET --labels LABELS --out RUN"


def _wrapped(text: str, first: str = "", others: str = "") -> str:
    return textwrap.fill(text, 78, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def setting_lines(config: msgspec.Struct, group: str = "") -> Iterator[str]:
    """Return `name=value` for each setting; groups as dotted paths, values as JSON."""
    for name in config.__struct_fields__:
        path, value = group + name, getattr(config, name)
        if isinstance(value, msgspec.Struct):
            yield from setting_lines(value, f"{path}.")
        else:
            written = _members(value) if path == "members" else value
            yield f"{path}={msgspec.json.encode(written).decode()}"


def _members(members: Any) -> list[dict[str, Any]]:
    """Members of an ensemble as users write them: the name of a recipe, and the settings that differ."""
    return [
        {
            "recipe": one.name,
            "settings": sorted(set(setting_lines(one.recipe)) - set(setting_lines(find_recipe(one.name)))),
            "seeds": one.seeds,
        }
        for one in members
    ]
