"""Look-ups that are remembered, in bounded memory."""

from typing import TypeVar

LIMIT = 100_000  # entries of a cache

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def remember(cache: dict[_Key, _Value], key: _Key, value: _Value) -> _Value:
    """`value`, kept in a cache that starts anew when it is full."""
    if len(cache) >= LIMIT:
        cache.clear()
    cache[key] = value
    return value
