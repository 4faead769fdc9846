"""Pretraining: say which token comes next, given all before it. Padding never counts."""

import torch
from torch import Tensor, nn

from chartscan.batch import Batch, Loss, SequenceModel
from chartscan.kernels import linear
from chartscan.objectives._token_loss import token_loss, vocabulary_map


class NextEvent(nn.Module):
    """The forecasting head softmax(W RMSNorm(h) + b) and its cross-entropy.

    Fallahpour et al. 2024, sec. 3. `embedding`, (V, D), ties W to the model's table of codes; the paper's
    head has its own. `shares`, one for each token type, weighs what is said from a token of that type; None:
    everything alike. They depend on what is known and never on what comes, so that the likeliest
    probabilities are still the true ones.
    """

    shares: Tensor | None

    def __init__(
        self,
        width: int,
        vocab_size: int,
        embedding: nn.Embedding | None = None,
        shares: Tensor | None = None,
    ):
        super().__init__()
        self.register_buffer("shares", shares, persistent=False)
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.linear = vocabulary_map(width, vocab_size, embedding)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of the token after each hidden state (..., D)."""
        return linear(self.norm(hidden), self.linear.weight, self.linear.bias)

    def loss(self, model: SequenceModel, batch: Batch) -> Loss:
        """Loss over the predicted tokens, `length - 1` of each row."""
        hidden = model(batch)
        last = torch.arange(1, batch.codes.shape[1], device=hidden.device)  # index of the predicted token
        predicted = last < batch.lengths.unsqueeze(1)  # (B, L - 1)
        targets = batch.codes[:, 1:][predicted]
        normed = self.norm(hidden[:, :-1][predicted])
        shares = None if self.shares is None else self.shares[batch.types[:, :-1][predicted]]  # (M,)
        total = token_loss(normed, self.linear.weight, self.linear.bias, targets, shares)
        weight = len(targets) if shares is None else float(shares.sum())
        return Loss(total, weight, len(targets))
