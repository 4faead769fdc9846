"""The transformer encoder's layer as BERT has it, and BigBird's block-sparse attention.

In the layer each part's output is added, and then normed (Vaswani et al. 2017, arXiv:1706.03762; Devlin et
al. 2019, arXiv:1810.04805). It equals Hugging Face's BertLayer and BigBirdLayer with the same weights and
GELU.
"""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from chartscan.errors import ConfigError
from chartscan.kernels.products import linear
from chartscan.layers.attention import Dropout, among_real, probabilities

_STD = 0.02  # of weights at first, as in BERT


class EncoderLayer(nn.Module):
    """y = norm(x + Attention(x)), then norm(y + W2 GELU(W1 y)); (B, L, D) -> (B, L, D).

    `attention` turns queries, keys and values (B, heads, L, D / heads) and lengths (B,) into the
    attended values, and decides which positions each position sees. `inner` is the feed-forward width.
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
        """Positions at or beyond `lengths` (B,) are padding: their output has no meaning."""
        query, key, value = self._projected(x)
        attended = self.attention(query, key, value, lengths).transpose(1, 2).flatten(2)
        x = self.attention_norm(x + self.dropout(linear(attended, self.out_proj.weight, self.out_proj.bias)))
        inner = F.gelu(linear(x, self.expand.weight, self.expand.bias))
        out: Tensor = self.ffn_norm(x + self.dropout(linear(inner, self.contract.weight, self.contract.bias)))
        return out

    def weights(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return attention weights by head (B, heads, L, L), 1 in sum over the last."""
        query, key, _ = self._projected(x)
        found: Tensor = self.attention.weights(query, key, lengths)  # type: ignore[operator]
        return found

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, L, D / heads)."""
        projected = linear(x, self.in_proj.weight, self.in_proj.bias)
        query, key, value = projected.unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value


class BlockSparseAttention(nn.Module):
    """Queries, keys, values (B, heads, L, d) -> (B, heads, L, d). It has no weights.

    Time and memory are linear in the length (Zaheer et al. 2020, arXiv:2007.14062). `context` is the greatest
    length. Rows of at most `n_random` + 4 blocks see all of themselves anyway.

    A row is cut in blocks of tokens. Its first and last block see, and are seen by, all of it. Every other
    block sees those two, itself with its two neighbours, and a few blocks drawn at random, for each head and
    layer.

    Three departures from the released implementation and from Hugging Face's:

    - The last block is the one with the row's own last token, and the random blocks of a row of n blocks are
      a function of the seed, the head and n. There, both follow from the length to which the batch is padded,
      so that batch-mates change a result.
    - The random blocks are the same in training and in use, and are drawn from the whole row. There, they are
      drawn in training only (in use, block 0 is counted several times), and from the first eleven blocks
      alone where a row has more.
    - Nothing is seen twice.
    """

    random: Tensor  # (blocks + 1, heads, blocks, n_random), of `random_blocks`

    def __init__(self, n_heads: int, context: int, block: int, n_random: int, seed: int):
        super().__init__()
        self.block, self.n_random = block, n_random
        drawn = torch.from_numpy(random_blocks(n_heads, -(-context // block), n_random, seed))
        self.register_buffer("random", drawn, persistent=False)  # follows from the settings

    def forward(self, query: Tensor, key: Tensor, value: Tensor, lengths: Tensor) -> Tensor:
        """Positions at or beyond `lengths` (B,) are padding: their output has no meaning."""
        length = query.shape[2]
        blocks = -(-length // self.block)
        if blocks <= self.n_random + 4:
            return among_real(query, key, value, lengths)
        more = blocks * self.block - length
        query, key, value = (F.pad(x, (0, 0, 0, more)).contiguous() for x in (query, key, value))
        last = (lengths.clamp(min=1) - 1) // self.block  # (B,) the last block of each row
        # What is gathered is sixteen times the keys. The backward pass makes it again: no layer keeps it.
        middle: Tensor = checkpoint(
            self._middle, query, key, value, lengths, last, use_reentrant=False, preserve_rng_state=False
        )
        first_attended, last_attended = self._everything(query, key, value, lengths, last)
        attended = torch.cat([first_attended, middle, torch.zeros_like(first_attended)], 2)
        is_last = torch.arange(blocks, device=last.device) == last.unsqueeze(1)  # (B, blocks)
        attended = torch.where(is_last[:, None, :, None, None], last_attended, attended)
        return attended.flatten(2, 3)[:, :, :length]

    def weights(self, query: Tensor, key: Tensor, lengths: Tensor) -> Tensor:
        """The attention's probabilities, (B, heads, L, L), 0 where nothing is seen; quadratic, to look at."""
        length, heads = query.shape[2], query.shape[1]
        blocks = -(-length // self.block)
        last = (lengths.clamp(min=1) - 1) // self.block
        whole = torch.ones(len(lengths), heads, blocks, blocks, dtype=torch.bool, device=lengths.device)
        if blocks > self.n_random + 4:
            seen, counts = self._seen(last, blocks)
            middle = torch.zeros_like(whole[:, :, 1:-1], dtype=torch.int64)
            whole[:, :, 1:-1] = middle.scatter_add(3, seen, counts.long()) > 0
            whole[torch.arange(len(last), device=last.device), :, last] = True
        tokens = torch.arange(length, device=lengths.device)
        blocked = tokens // self.block
        seen_tokens = whole[:, :, blocked][..., blocked] & (
            tokens < lengths.clamp(min=1)[:, None, None, None]
        )
        return probabilities(query, key, seen_tokens)

    def _everything(
        self, query: Tensor, key: Tensor, value: Tensor, lengths: Tensor, last: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the first and the last block of each row find in all of it, each (B, heads, 1, block, d)."""
        blocked = query.unflatten(2, (-1, self.block))
        rows = torch.arange(len(last), device=last.device)
        asking = torch.cat([blocked[:, :, 0], blocked[rows, :, last]], 2)  # (B, heads, 2 block, d)
        found = among_real(asking, key, value, lengths).unflatten(2, (2, self.block))
        return found[:, :, :1], found[:, :, 1:]

    def _middle(self, query: Tensor, key: Tensor, value: Tensor, lengths: Tensor, last: Tensor) -> Tensor:
        """What blocks 1 .. blocks - 2 attend to, (B, heads, blocks - 2, block, d).

        A row's last block and what is beyond it come out as anything.
        """
        rows, heads = query.shape[:2]
        blocked = query.unflatten(2, (-1, self.block))[:, :, 1:-1]
        seen, counts = self._seen(last, query.shape[2] // self.block)
        real = self._real(seen, counts, lengths)
        attended = F.scaled_dot_product_attention(
            blocked.flatten(1, 2), self._gathered(key, seen), self._gathered(value, seen), real
        )
        return attended.view(rows, heads, -1, self.block, query.shape[3])

    def _seen(self, last: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
        """Blocks that blocks 1 .. blocks - 2 of each row look at, and which of them count.

        Both (B, heads, blocks - 2, K), the random ones at the end.
        """
        here = torch.arange(1, blocks - 1, device=last.device)
        end = last.view(-1, 1).expand(-1, len(here))
        always = [torch.zeros_like(end), end, *((here + shift).expand_as(end) for shift in (-1, 0, 1))]
        fixed = torch.stack(always, -1)  # (B, blocks - 2, 5)
        counts = (fixed > 0) & (fixed < end.unsqueeze(2))  # neighbours that are the first or the last block,
        counts[..., :2] = True  # which count already
        drawn = self.random[last + 1][:, :, 1 : blocks - 1].long()  # (B, heads, blocks - 2, n_random)
        heads = drawn.shape[1]
        fixed, counts = (x.unsqueeze(1).expand(-1, heads, -1, -1) for x in (fixed, counts))
        return torch.cat([fixed, drawn.clamp(min=0)], 3), torch.cat([counts, drawn >= 0], 3)

    def _real(self, seen: Tensor, counts: Tensor, lengths: Tensor) -> Tensor:
        """Which of the tokens looked at count: (B, heads (blocks - 2), 1, K block)."""
        tokens = seen.unsqueeze(-1) * self.block + torch.arange(self.block, device=seen.device)
        real = counts.unsqueeze(-1) & (tokens < lengths.clamp(min=1).view(-1, 1, 1, 1, 1))
        return real.flatten(3).flatten(1, 2).unsqueeze(2)

    def _gathered(self, x: Tensor, seen: Tensor) -> Tensor:
        """The tokens of the blocks `seen`: (B, heads, L, d) -> (B, heads (blocks - 2), K block, d)."""
        rows, heads, length, size = x.shape
        blocks = length // self.block
        start = torch.arange(rows * heads, device=x.device).view(rows, heads, 1, 1) * blocks
        found = x.reshape(rows * heads * blocks, -1).index_select(0, (seen + start).flatten())
        return found.view(rows, -1, seen.shape[3] * self.block, size)


@cache
def random_blocks(n_heads: int, blocks: int, count: int, seed: int) -> np.ndarray:
    """Blocks that each block of a row of n blocks sees at random: (blocks + 1, n_heads, blocks, count) int16.

    The first index is n. For every head, each block ranks all others at random once; of a row it takes the
    `count` that rank first among those that it would not see anyway; -1 where there are fewer. So the choice
    is uniform for every n, and a longer row changes as little of it as can be. NumPy promises that this
    generator's numbers stay what they are.
    """
    ranks = np.random.RandomState(seed).random_sample((n_heads, blocks, blocks))
    found = np.full((blocks + 1, n_heads, blocks, count), -1, dtype=np.int16)
    index = np.arange(blocks)
    near = np.abs(index[:, None] - index) <= 1
    for n in range(5, blocks + 1):  # in fewer, everything is seen anyway
        free = ~near[:n, :n] & (index[:n] > 0) & (index[:n] < n - 1)
        score = np.where(free, ranks[:, :n, :n], np.inf)
        best = np.argsort(score, -1)[:, :, :count]
        best[np.isinf(np.take_along_axis(score, best, -1))] = -1
        found[n, :, :n, : best.shape[2]] = best
    return found
