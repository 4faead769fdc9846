"""What goes in and out of the parts of a model while it runs, and an output put in the place of another."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def outputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """What `module` gives meanwhile, call by call."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def inputs_of(modules: Sequence[nn.Module]) -> Iterator[list[tuple[Any, ...]]]:
    """The positional arguments of each call of the `modules` meanwhile."""
    inputs: list[tuple[Any, ...]] = []
    handles = [one.register_forward_pre_hook(lambda _, given: inputs.append(given)) for one in modules]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def first_output(module: nn.Module, output: Tensor) -> Iterator[None]:
    """The first call of `module` gives `output`, whatever it is shown; later ones what they give."""
    calls = 0

    def hook(_: nn.Module, __: Any, given: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return output if calls == 1 else given

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
