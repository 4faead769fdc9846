"""Attention over a row's events: full, windowed, and HyMaTE's fusion to one vector.

Padding is never attended to. There are no positions: time belongs to the embedding, and the Mamba blocks
below know the order. Event by event, each layer carries a state from one step to the next.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.errors import ConfigError
from chartscan.kernels.products import linear

_BYTE = 256


class FullAttention(nn.Module):
    """Queries, keys, values (B, heads, L, D / heads) -> (B, heads, L, D / heads). It has no weights.

    `dropout` is of the attention's probabilities, as in BERT (Devlin et al. 2019, arXiv:1810.04805).
    """

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout

    def forward(self, query: Tensor, key: Tensor, value: Tensor, lengths: Tensor) -> Tensor:
        """Positions at or beyond `lengths` (B,) are padding: their output has no meaning."""
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
    """Return attention to each row's real positions; without any, to its first."""
    real = torch.arange(key.shape[2], device=key.device) < lengths.clamp(min=1).unsqueeze(1)
    return F.scaled_dot_product_attention(query, key, value, real[:, None, None], dropout)


# Self-attention and feed-forward layer (Vaswani et al. 2017, arXiv:1706.03762), with the norm before each
# part. There are no positions: time is in the embedding, and the Mamba blocks know the order.


@dataclass(frozen=True)
class AttentionState:
    """Keys and values of R sequences' latest n events, oldest first, within the window."""

    keys: Tensor  # (R, heads, n, D / heads)
    values: Tensor  # (R, heads, n, D / heads)

    def at(self, rows: Tensor) -> "AttentionState":
        """The states of `rows`, which may repeat."""
        return AttentionState(self.keys[rows], self.values[rows])

    def detach(self) -> "AttentionState":
        return AttentionState(self.keys.detach(), self.values.detach())


class SelfAttention(nn.Module):
    """x + Attention(norm(x)), then x + FFN(norm(x)); (B, L, D) -> (B, L, D).

    `causal`: a position sees itself and those before it, the latest `window` of them if it is given. Else
    all of the row, and `step` has no meaning.
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        dropout: float = 0.0,
        causal: bool = False,
        window: int | None = None,
    ):
        super().__init__()
        if width % n_heads:
            raise ConfigError(f"model.n_heads is {n_heads}; expected a divisor of d_model, {width}.")
        if window is not None and not (causal and window >= 1):
            raise ConfigError(f"model.window is {window}; expected at least 1, and model.causal.")
        self.n_heads, self.causal, self.window = n_heads, causal, window
        self.norm = nn.LayerNorm(width)
        self.in_proj = nn.Linear(width, 3 * width)  # queries, keys, values
        self.out_proj = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Steps at or beyond `lengths` (B,) are padding: their output has no meaning."""
        query, key, value = self._projected(x)
        if not self.causal:
            attended = among_real(query, key, value, lengths)
        elif self.window is None or self.window >= x.shape[1]:
            attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            attended = _in_window(query, key, value, self.window)
        return self._finished(x, attended)

    def weights(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return attention weights by head (B, heads, L, L), 1 in sum over the last."""
        query, key, _ = self._projected(x)
        steps = torch.arange(x.shape[1], device=x.device)
        back = steps.unsqueeze(1) - steps
        seen = (back >= 0) if self.causal else (steps < lengths.clamp(min=1)[:, None, None, None])
        if self.window is not None:
            seen = seen & (back < self.window)
        return probabilities(query, key, seen)

    def init_state(self, rows: int) -> AttentionState:
        """The state before the first event."""
        width = self.out_proj.in_features
        nothing = self.out_proj.weight.new_zeros(rows, self.n_heads, 0, width // self.n_heads)
        return AttentionState(nothing, nothing)

    def step(self, x: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        """Run one event of R sequences: (R, D) and state before -> (R, D) and state after."""
        x = x.unsqueeze(1)
        query, key, value = self._projected(x)
        latest = slice(0 if self.window is None else -self.window, None)
        keys = torch.cat([state.keys, key], 2)[:, :, latest]
        values = torch.cat([state.values, value], 2)[:, :, latest]
        attended = F.scaled_dot_product_attention(query, keys, values)
        return self._finished(x, attended).squeeze(1), AttentionState(keys, values)

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, L, D / heads)."""
        projected = linear(self.norm(x), self.in_proj.weight, self.in_proj.bias)
        query, key, value = projected.unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value

    def _finished(self, x: Tensor, attended: Tensor) -> Tensor:
        """The output projection of all heads, then the feed-forward layer, each added to what came in."""
        joined = attended.transpose(1, 2).flatten(2)
        x = x + self.dropout(linear(joined, self.out_proj.weight, self.out_proj.bias))
        inner = F.relu(linear(self.ffn_norm(x), self.expand.weight, self.expand.bias))
        return x + self.dropout(linear(inner, self.contract.weight, self.contract.bias))


def _in_window(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Every position attends to itself and the `window` - 1 before it, in time linear in the length.

    The sequence is cut in blocks of `window`: what a block sees lies in it and in the one before.
    """
    rows, _, steps, _ = query.shape
    blocks = -(-steps // window)

    def cut(x: Tensor) -> Tensor:  # (B, heads, L, size) -> (B, blocks, heads, window, size)
        return F.pad(x, (0, 0, 0, blocks * window - steps)).unflatten(2, (blocks, window)).transpose(1, 2)

    def with_previous(x: Tensor) -> Tensor:  # (B blocks, heads, 2 window, size)
        now = cut(x)
        before = F.pad(now, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1]
        return torch.cat([before, now], 3).flatten(0, 1)

    back = torch.arange(window).unsqueeze(1) + window - torch.arange(2 * window)  # from query to key
    seen = ((back >= 0) & (back < window)).repeat(blocks, 1, 1)
    seen[0, :, :window] = False  # before the first block there is nothing
    mask = seen.to(query.device).repeat(rows, 1, 1).unsqueeze(1)  # (B blocks, 1, window, 2 window)
    attended = F.scaled_dot_product_attention(
        cut(query).flatten(0, 1), with_previous(key), with_previous(value), mask
    )
    joined = attended.unflatten(0, (rows, blocks)).transpose(1, 2).flatten(2, 3)
    return joined[:, :, :steps]


# Fusion attention: section 3.2.4 of HyMaTE (arXiv:2509.24118). Its softmax can be summed as events arrive.


@dataclass(frozen=True)
class FusionState:
    """The running softmax of R stays, relative to their largest score so far."""

    largest: Tensor  # (R,), -inf before the first event
    total: Tensor  # (R,), sum of exp(score - largest)
    weighted: Tensor  # (R, D), sum of exp(score - largest) c

    def at(self, rows: Tensor) -> "FusionState":
        """The states of `rows`, which may repeat."""
        return FusionState(self.largest[rows], self.total[rows], self.weighted[rows])

    def detach(self) -> "FusionState":
        return FusionState(self.largest.detach(), self.total.detach(), self.weighted.detach())


class Fusion(nn.Module):
    """Attention fusion (B, L, D) -> (B, D): sum of softmax_i(u tanh(W c_i + b)) c_i.

    A stay without events gives zeros.
    """

    def __init__(self, width: int):
        super().__init__()
        self.project = nn.Linear(width, width)
        self.query = nn.Parameter(torch.randn(width) / math.sqrt(width))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return torch.bmm(self.weights(x, lengths).unsqueeze(1), x).squeeze(1)

    def weights(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, L): not negative, 1 in sum over a stay's events, 0 at padding."""
        real = torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)
        scores = self._scores(x).masked_fill(~real, -torch.inf)
        nothing = (lengths == 0).unsqueeze(1)  # where the softmax would be 0 / 0
        return torch.softmax(scores.masked_fill(nothing, 0.0), 1).masked_fill(nothing, 0.0)

    def init_state(self, rows: int) -> FusionState:
        """The state before the first event."""
        zeros = self.query.new_zeros(rows)
        return FusionState(zeros - torch.inf, zeros, self.query.new_zeros(rows, len(self.query)))

    def step(self, x: Tensor, state: FusionState) -> tuple[Tensor, FusionState]:
        """Add one event (R, D) of each stay; return z (R, D) and the state."""
        score = self._scores(x)
        largest = torch.maximum(score, state.largest)
        kept, added = torch.exp(state.largest - largest), torch.exp(score - largest)
        total = state.total * kept + added
        weighted = state.weighted * kept.unsqueeze(1) + x * added.unsqueeze(1)
        return weighted / total.unsqueeze(1), FusionState(largest, total, weighted)

    def _scores(self, x: Tensor) -> Tensor:
        return torch.tanh(linear(x, self.project.weight, self.project.bias)) @ self.query


class Dropout(nn.Module):
    """As nn.Dropout; on processors `p` and the scale are rounded to 1/256.

    There it draws a byte a number, where PyTorch draws a word: 1.2 ms instead of 6.3 for 32 x 450 x 64
    numbers, a tenth of a training step of HyMaTE on one core.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if not x.is_cpu:
            return F.dropout(x, self.p)
        dropped = min(round(self.p * _BYTE), _BYTE - 1)  # byte values
        kept = _random_bytes(x.numel()).view(x.shape) >= dropped
        return x * kept.to(x.dtype).mul_(_BYTE / (_BYTE - dropped))


def _random_bytes(n: int) -> Tensor:
    """(n,) uint8, uniform, of PyTorch's generator."""
    words = torch.empty(-(-n // 8), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.uint8)[:n]
