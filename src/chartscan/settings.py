"""`--set model.d_model=256`: one field of a nested, frozen configuration replaced, and checked.

A wrong name is refused with the nearest right one, a wrong type with what was expected.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

import msgspec

from chartscan.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)


class UnknownSetting(ConfigError):
    """A setting that does not exist; `name` is without the groups before it."""

    def __init__(self, message: str, name: str):
        super().__init__(message)
        self.name = name


def with_settings(
    config: S,
    assignments: Sequence[str],
    flag: str = "--set",
    elsewhere: Mapping[str, msgspec.Struct] | None = None,
    named: Mapping[str, Callable[[Any], Any]] | None = None,
) -> S:
    """`config` with each `path.to.field=value` applied; values are JSON, or else plain text.

    All are applied before the result is checked, so that two fields that bound each other can change
    together. ConfigError names the `flag` the user gave them with. `elsewhere` holds what other flags of the
    command set: a name that is theirs is answered with the right flag. `named` makes the value of a setting
    from what is written, where that names things (may raise msgspec.ValidationError).
    """
    data = msgspec.to_builtins(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            example = "model.d_model=256" if flag == "--set" else "seed=1"
            raise ConfigError(f"{flag} {assignment}: expected NAME=VALUE, for example {flag} {example}.")
        names = path.strip().split(".")
        try:
            _assign(data, names, _value(text.strip()), flag, _is_free(config, names[:-1]))
        except UnknownSetting as err:
            raise _with_right_flag(err, names, text.strip(), flag, elsewhere or {}) from None
    try:
        return _rebuilt(config, data, named or {})
    except msgspec.ValidationError as err:
        raise ConfigError(_text(flag, str(err))) from None
    except ConfigError as err:
        raise ConfigError(f"{flag}: {err}") from None


def _rebuilt(config: S, data: dict[str, Any], named: Mapping[str, Callable[[Any], Any]]) -> S:
    """`config` with the values of `data`, each of the type of the present value where that is a group, and
    else of the field's. ValidationError tells the path of what has another."""
    hints = get_type_hints(type(config), include_extras=True)
    values = {}
    for name, value in data.items():
        now = getattr(config, name, None)
        try:
            values[name] = _converted(now, value, hints[name], named.get(name))
        except msgspec.ValidationError as err:
            raise msgspec.ValidationError(_below(name, str(err))) from None
    try:
        return type(config)(**values)
    except (TypeError, ValueError) as err:  # of its own check, as msgspec has it
        raise msgspec.ValidationError(str(err)) from None


def _converted(now: Any, value: Any, hint: Any, made: Callable[[Any], Any] | None) -> Any:
    unchanged = value == msgspec.to_builtins(now)
    if unchanged and (made is not None or (isinstance(now, tuple) and _holds_groups(now))):
        return now
    if made is not None:
        return made(value)
    if isinstance(now, msgspec.Struct) and isinstance(value, dict):
        if value.keys() <= set(now.__struct_fields__):
            return _rebuilt(now, value, {})
        return msgspec.convert(value, type(now))  # which refuses it
    return msgspec.convert(value, hint)


def _holds_groups(values: tuple[Any, ...]) -> bool:
    return any(isinstance(value, msgspec.Struct) for value in values)


def _below(name: str, error: str) -> str:
    """msgspec's complaint about a part of the field `name`."""
    text, at, path = error.partition(" - at `$")
    return f"{text} - at `$.{name}{path if at else '`'}"


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, RecursionError):
        return text
    except UnicodeError:  # bytes of another encoding in the command
        return text.encode(errors="replace").decode()


def _assign(data: dict[str, Any], path: list[str], value: Any, flag: str, free: bool) -> None:
    """Puts `value` at `path`, where there must be a field unless the group is `free` to grow."""
    *parents, last = path
    group = data
    for depth, name in enumerate(parents):
        _check_known(group, path, depth, flag)
        if not isinstance(group[name], dict):
            raise ConfigError(_no_group(flag, path, depth, group[name]))
        group = group[name]
    if not free:
        _check_known(group, path, len(parents), flag)
    group[last] = value


def _check_known(group: dict[str, Any], path: list[str], depth: int, flag: str) -> None:
    name = path[depth]
    if name in group:
        return
    near = difflib.get_close_matches(name, group, n=1)
    hint = f" Did you mean '{'.'.join([*path[:depth], near[0]])}'?" if near else ""
    where = f" in '{'.'.join(path[:depth])}'" if depth else ""
    text = f"{flag} {'.'.join(path)}: no field '{name}'{where}.{hint} Known: {', '.join(sorted(group))}."
    raise UnknownSetting(text, name)


def _with_right_flag(
    err: UnknownSetting, path: list[str], text: str, flag: str, elsewhere: Mapping[str, msgspec.Struct]
) -> UnknownSetting:
    """The error, or where another flag has such a setting one that names it."""
    name = path[0]
    for other, config in elsewhere.items():
        if name in config.__struct_fields__:
            return UnknownSetting(
                f"{flag} {name} is set by {other}: {other} {'.'.join(path)}={text}", err.name
            )
        near = difflib.get_close_matches(name, config.__struct_fields__, n=1, cutoff=0.8)
        if near and "Did you mean" not in str(err):
            return UnknownSetting(f"{err} Or did you mean {other} {near[0]}?", err.name)
    return err


def _no_group(flag: str, path: list[str], depth: int, found: Any) -> str:
    """Why nothing can be set below a field that holds `found`."""
    name = ".".join(path[: depth + 1])
    if found is None:
        return f"{flag} {'.'.join(path)}: '{name}' is null, so there is nothing in it to set."
    return f"{flag} {'.'.join(path)}: '{name}' is one value, not a group of settings. Set it as {name}=VALUE."


def _is_free(config: Any, parents: Sequence[str]) -> bool:
    """Whether the group at `parents` is a mapping, which takes any name, and not a set of fields."""
    for name in parents:
        config = config.get(name) if isinstance(config, dict) else getattr(config, name, None)
    return isinstance(config, dict)


def _text(flag: str, found: str) -> str:
    """msgspec's complaint with the name of the setting first: `Expected ..., got ... - at `$.a.b``."""
    match = re.fullmatch(r"(.*) - at `\$\.?([^`]*)`", found, re.DOTALL)
    if not match or not match[2]:
        return f"{flag}: {found.rstrip('.')}."
    return f"{flag} {match[2]}: {match[1].rstrip('.')}."
