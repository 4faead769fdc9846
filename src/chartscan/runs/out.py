"""Where results may be written: never over what they are made from, and only where that is possible."""

import os
import tempfile
from pathlib import Path

from chartscan import files
from chartscan.errors import ConfigError


def check_apart(out: Path, *inputs: Path | None) -> None:
    """ConfigError where `out` is one of the `inputs` or lies within one of their folders, or is not ours.

    What an earlier run left there when it was killed is removed.
    """
    place = files.own_place(out).resolve()
    files.sweep(out)
    for one in inputs:
        if one is not None and place.is_relative_to(one.resolve()):
            raise ConfigError(f"{out} is part of {one}, which is read, not written. Name another place.")


def refuse_existing(out: Path) -> None:
    """ConfigError where `out` is there, also as a link to nothing: nothing is ever written over."""
    if os.path.lexists(out):
        raise ConfigError(f"{out} exists already and is not overwritten. Choose another place.")
    files.sweep(out)


def check_file(out: Path, example: str) -> None:
    """Makes the folder of the file `out`; an error now, not after hours, where nothing can be written there.

    ConfigError where `out` is a folder, and the `example` of a file in it; OSError that names `out`.
    """
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; expected a file, such as {out / example}.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as err:
        reason = os.strerror(err.errno) if err.errno else str(err)
        raise OSError(err.errno, f"cannot be written: {reason}", str(out)) from err
