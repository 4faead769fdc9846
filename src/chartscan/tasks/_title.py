"""Titles of tasks that state the settings a label file was made with."""

from typing import Any

import msgspec


def titled(text: str, config: msgspec.Struct, default: msgspec.Struct, told: tuple[str, ...] = ()) -> str:
    """`text`, and each setting that differs from its default and is not among those `told` by the text."""
    names = [name for name in config.__struct_fields__ if name not in told]
    changed = [(n, getattr(config, n)) for n in names if getattr(config, n) != getattr(default, n)]
    return text + "".join(f", {name}={_value(value)}" for name, value in changed)


def counted(number: float, unit: str) -> str:
    """`1 day`, `30 days`, `1.5 days`."""
    return f"{number:g} {unit}" if number == 1 else f"{number:g} {unit}s"


def _value(value: Any) -> str:
    if isinstance(value, msgspec.Struct):
        return str(getattr(value, "name", value))
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
