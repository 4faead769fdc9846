"""Where results may be written: never over what they are made from."""

from pathlib import Path

from chartscan.errors import ConfigError


def check_apart(out: Path, *inputs: Path | None) -> None:
    """ConfigError where `out` is one of the `inputs` or lies within one of their folders."""
    place = out.resolve()
    for one in inputs:
        if one is not None and place.is_relative_to(one.resolve()):
            raise ConfigError(f"{out} is part of {one}, which is read, not written. Name another place.")
