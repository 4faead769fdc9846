"""Attention from every position to every real one of its row; padding is never attended to."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FullAttention(nn.Module):
    """Queries, keys, values (B, heads, L, D / heads) -> (B, heads, L, D / heads). It has no weights.

    `dropout` is of the attention's probabilities, as in BERT (Devlin et al. 2019, arXiv:1810.04805).
    """

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout

    def forward(self, query: Tensor, key: Tensor, value: Tensor, lengths: Tensor) -> Tensor:
        """Positions at or beyond `lengths` (B,) are padding, whatever comes out there."""
        return among_real(query, key, value, lengths, self.dropout if self.training else 0.0)

    def weights(self, query: Tensor, key: Tensor, lengths: Tensor) -> Tensor:
        """The attention's probabilities, (B, heads, L, L)."""
        real = torch.arange(key.shape[2], device=key.device) < lengths.clamp(min=1).unsqueeze(1)
        return probabilities(query, key, real[:, None, None])


def probabilities(query: Tensor, key: Tensor, seen: Tensor) -> Tensor:
    """Softmax of scaled products among what each query sees, (B, heads, Q, L)."""
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
    return torch.softmax(scores.masked_fill(~seen, -torch.inf), 3)


def among_real(query: Tensor, key: Tensor, value: Tensor, lengths: Tensor, dropout: float = 0.0) -> Tensor:
    """Every query attends to the real positions of its row; in a row without any, to its first."""
    real = torch.arange(key.shape[2], device=key.device) < lengths.clamp(min=1).unsqueeze(1)
    return F.scaled_dot_product_attention(query, key, value, real[:, None, None], dropout)
