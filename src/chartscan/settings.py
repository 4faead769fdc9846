"""`--set model.d_model=256`: one field of a nested, frozen configuration replaced, and checked.

A wrong name is refused with the nearest right one, a wrong type with what was expected.
"""

import difflib
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from chartscan.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)


def with_settings(config: S, assignments: Sequence[str]) -> S:
    """`config` with each `path.to.field=value` applied; values are JSON, or else plain text."""
    data = msgspec.to_builtins(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment}: expected name=value, for example model.d_model=256.")
        _assign(data, path.strip().split("."), _value(text.strip()))
    try:
        return msgspec.convert(data, type(config))
    except msgspec.ValidationError as err:
        raise ConfigError(f"--set: {err}.") from None


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return text


def _assign(data: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, last = path
    for depth, name in enumerate([*parents, last]):
        if name not in data or (name != last and not isinstance(data[name], dict)):
            near = difflib.get_close_matches(name, data, n=1)
            hint = f" Did you mean '{'.'.join([*path[:depth], near[0]])}'?" if near else ""
            raise ConfigError(
                f"--set {'.'.join(path)}: no field '{name}'.{hint} Known: {', '.join(sorted(data))}."
            )
        if depth < len(parents):
            data = data[name]
    data[last] = value
