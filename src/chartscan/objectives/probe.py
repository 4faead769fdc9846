"""A linear probe: a logistic regression for each task on a pretrained model's states.

The model stays as it was pretrained, so a few hundred labels are enough. Probing a frozen representation is
the usual evaluation of pretrained models of records (Steinberg et al. 2021,
J. Biomed. Inform. 113:103637).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.batch import Batch, SequenceModel


class Probe(nn.Module):
    """One regression for each task: log odds = known @ weight + bias."""

    def __init__(self, width: int, n_tasks: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_tasks, 2 * width))
        self.bias = nn.Parameter(torch.zeros(n_tasks))

    def forward(self, known: Tensor, tasks: Tensor) -> Tensor:
        """Return logits (P,) from the prompts' features (P, 2 D) and task indices (P,)."""
        return (known * self.weight[tasks]).sum(1) + self.bias[tasks]

    def predict(self, model: SequenceModel, batch: Batch) -> Tensor:
        """Logits (P,) of the batch's prompts."""
        assert batch.prompts is not None
        return self(known(model, batch), batch.prompts.tasks)


def known(model: SequenceModel, batch: Batch) -> Tensor:
    """Normed hidden state at each prompt, and their mean up to it: (P, 2 D).

    The latest state says where a patient stands; what lies years back has faded from it, and is in the mean.
    The task token plays no part. A model that is not causal must have the prompt's position at its row's end.
    """
    assert batch.prompts is not None
    rows, positions = batch.prompts.rows, batch.prompts.positions
    hidden: Tensor = model(batch).float()
    hidden = F.rms_norm(hidden, hidden.shape[-1:], eps=1e-5)  # (B, L, D)
    sums = hidden.cumsum(1)[rows, positions]  # (P, D)
    return torch.cat([hidden[rows, positions], sums / (positions + 1).unsqueeze(1)], 1)
