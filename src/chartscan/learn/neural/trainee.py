"""A model with its head, and what both say about rows of tokens or stays."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn


class InOrder(Protocol):
    """Batches that show every sample once, each with the places of its samples."""

    def in_order(self) -> Iterator[tuple[np.ndarray, Any]]: ...


class Trainee(nn.Module):
    """A model with the head of one objective."""

    model: Any
    head: Any

    def __init__(self, model: nn.Module, head: nn.Module):
        super().__init__()
        self.model, self.head = model, head


def loss_of(trainee: Trainee, batch: Any) -> tuple[Tensor, float, int]:
    """What the head says of a batch in training: sum of the losses, of their weights, number of targets."""
    total, weight = trainee.head.loss(trainee.model, batch)
    weighed = hasattr(trainee.head, "targets")
    return total, weight, trainee.head.targets(batch) if weighed else int(weight)


def mean_loss(trainee: Trainee, data: InOrder) -> float:
    """Mean loss over all samples."""
    total, count = 0.0, 0.0
    for _, batch in data.in_order():
        loss, weight = trainee.head.loss(trainee.model, batch.to(device_of(trainee)))
        total, count = total + float(loss), count + float(weight)
    return total / max(count, 1.0)


@torch.no_grad()
def logits_of(trainee: Trainee, data: InOrder, *shape: int) -> np.ndarray:
    """Logits of all samples, in their order: (n,), or (n, T) where a sample has an answer to each task."""
    trainee.eval()
    logits = np.zeros(shape)
    for samples, batch in data.in_order():
        answers = trainee.head.predict(trainee.model, batch.to(device_of(trainee)))
        logits[samples] = answers.double().cpu().numpy()
    return logits


def device_of(module: nn.Module) -> torch.device:
    """Where the weights are."""
    return next(module.parameters()).device
