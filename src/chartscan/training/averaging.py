"""A moving average of the weights (Polyak and Juditsky 1992), often better than the last ones."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The exponential moving average of everything in a module's state."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.tensors = copied(module)

    def update(self, module: nn.Module, step: int) -> None:
        """Takes in the weights after `step` steps; early on with less memory, to forget the start."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)


@contextmanager
def weights_of(average: Average | None, module: nn.Module) -> Iterator[None]:
    """Inside, `module` has the averaged weights (its own where there is no average)."""
    if average is None:
        yield
        return
    own = copied(module)
    module.load_state_dict(average.tensors)
    try:
        yield
    finally:
        module.load_state_dict(own)


@torch.no_grad()
def copied(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the module's state, each tensor with memory of its own."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
