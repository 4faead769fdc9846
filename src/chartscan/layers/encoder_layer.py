"""The transformer encoder's layer as BERT has it: each part's output is added, and then normed.

Vaswani et al. 2017, arXiv:1706.03762; Devlin et al. 2019, arXiv:1810.04805. Equal to Hugging Face's BertLayer
and BigBirdLayer with the same weights and GELU.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.errors import ConfigError
from chartscan.kernels.products import linear
from chartscan.layers.fusion import Dropout

_STD = 0.02  # of weights at first, as in BERT


class EncoderLayer(nn.Module):
    """y = norm(x + Attention(x)), then norm(y + W2 GELU(W1 y)); (B, L, D) -> (B, L, D).

    `attention` turns queries, keys and values (B, heads, L, D / heads) and lengths (B,) into what was
    attended to, and decides who sees whom. `inner` is the width of the feed-forward layer.
    """

    def __init__(self, width: int, n_heads: int, inner: int, dropout: float, attention: nn.Module):
        super().__init__()
        if width % n_heads:
            raise ConfigError(f"model.n_heads is {n_heads}; expected a divisor of d_model, {width}.")
        self.n_heads, self.attention = n_heads, attention
        self.in_proj = nn.Linear(width, 3 * width)  # queries, keys, values
        self.out_proj = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.expand = nn.Linear(width, inner)
        self.contract = nn.Linear(inner, width)
        self.ffn_norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = Dropout(dropout)
        for part in (self.in_proj, self.out_proj, self.expand, self.contract):
            nn.init.normal_(part.weight, std=_STD)
            nn.init.zeros_(part.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Positions at or beyond `lengths` (B,) are padding, whatever comes out there."""
        query, key, value = self._projected(x)
        attended = self.attention(query, key, value, lengths).transpose(1, 2).flatten(2)
        x = self.attention_norm(x + self.dropout(linear(attended, self.out_proj.weight, self.out_proj.bias)))
        inner = F.gelu(linear(x, self.expand.weight, self.expand.bias))
        out: Tensor = self.ffn_norm(x + self.dropout(linear(inner, self.contract.weight, self.contract.bias)))
        return out

    def weights(self, x: Tensor, lengths: Tensor) -> Tensor:
        """How much each position attends to each other, by head: (B, heads, L, L), 1 in sum over the last."""
        query, key, _ = self._projected(x)
        found: Tensor = self.attention.weights(query, key, lengths)  # type: ignore[operator]
        return found

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, L, D / heads)."""
        projected = linear(x, self.in_proj.weight, self.in_proj.bias)
        query, key, value = projected.unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value
