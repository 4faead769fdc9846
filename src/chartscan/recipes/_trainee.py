"""A model with its head, and what both say about rows of tokens."""

from typing import Any

import numpy as np
import torch
from torch import nn

from chartscan.recipes._epochs import Epochs


class Trainee(nn.Module):
    """A sequence model with the head of one objective."""

    model: Any
    head: Any

    def __init__(self, model: nn.Module, head: nn.Module):
        super().__init__()
        self.model, self.head = model, head


def mean_loss(trainee: Trainee, data: Epochs) -> float:
    """Mean loss over all rows."""
    total, count = 0.0, 0.0
    for _, batch in data.in_order():
        loss, weight = trainee.head.loss(trainee.model, batch.to(device_of(trainee)))
        total, count = total + float(loss), count + float(weight)
    return total / max(count, 1.0)


@torch.no_grad()
def logits_of(trainee: Trainee, data: Epochs, n: int) -> np.ndarray:
    """Logits of all samples, in their order."""
    trainee.eval()
    logits = np.zeros(n)
    for samples, batch in data.in_order():
        answers = trainee.head.predict(trainee.model, batch.to(device_of(trainee)))
        logits[samples] = answers.double().cpu().numpy()
    return logits


def device_of(module: nn.Module) -> torch.device:
    """Where the weights are."""
    return next(module.parameters()).device
