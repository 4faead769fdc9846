"""The kernels are built for several instruction sets; which of them this process uses."""

from collections.abc import Iterator
from contextlib import contextmanager

from chartscan.kernels.native.library import available, library


def builds() -> list[str]:
    """Instruction sets that this machine can run, best first; empty without the native kernels."""
    return library().isas() if available() else []


@contextmanager
def build(name: str) -> Iterator[None]:
    """Inside, the kernels as built for the instruction set `name` run, for tests and measurements."""
    before = library().isa()
    library().set_isa(name)
    try:
        yield
    finally:
        library().set_isa(before)
