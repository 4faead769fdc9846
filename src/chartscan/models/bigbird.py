"""BigBird (Zaheer et al. 2020, arXiv:2007.14062) on embedded events; trained on prompts it is MultiBird.

Fallahpour et al. 2024, Table 4, and the released code's block of 64 tokens with 3 random blocks. It differs
from CEHR-BERT in the attention alone, whose cost is linear in the length (see layers/block_sparse_attention);
like the original it drops none of the attention's probabilities.
"""

from typing import ClassVar, Literal

import msgspec
from torch import Tensor, nn

from chartscan.batch import Batch, Pretraining
from chartscan.errors import ConfigError, check_at_least_one
from chartscan.layers.embedding import EventEmbedding
from chartscan.layers.encoder import BlockSparseAttention, EncoderLayer
from chartscan.layers.stack import last_of_each, prompt_prefixes
from chartscan.models import check_dropout, check_heads, check_task_type

MOST_DRAWN = 1 << 24  # random blocks of a layer, in all lengths


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The paper's size by default."""

    d_model: int = 768
    n_layers: int = 6
    n_heads: int = 12
    d_ffn: int = 3072  # inner width of the feed-forward layers
    context: int = 2048  # positions, the task token's included
    block: int = 64  # tokens that share what they see
    n_random: int = 3  # blocks that each block sees at random
    seed: int = 0  # of the random blocks; every layer draws its own
    time_dim: int = 32  # sine waves for each of time, gap and age
    n_types: int = 24
    task_type: int = 6  # the type of task tokens
    max_visits: int = 512  # visit orders 0 .. 511
    dropout: float = 0.1  # of the embedding and each layer's two parts

    def __post_init__(self) -> None:
        check_at_least_one(
            self,
            "d_model",
            "n_layers",
            "n_heads",
            "d_ffn",
            "context",
            "block",
            "time_dim",
            "n_types",
            "max_visits",
        )
        if self.n_random < 0:
            raise ConfigError(f"model.n_random is {self.n_random}; expected at least 0.")
        blocks = -(-self.context // self.block)
        if self.n_heads * (blocks + 1) * blocks * self.n_random > MOST_DRAWN:
            raise ConfigError(
                f"model.context is {self.context} with model.block {self.block} and model.n_random "
                f"{self.n_random}: too many random blocks to draw. Raise model.block."
            )
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"model.seed is {self.seed}; expected 0 to {2**31 - 1}.")
        check_heads(self.n_heads, self.d_model)
        check_task_type(self.task_type, self.n_types)
        check_dropout(self.dropout)


class Model(nn.Module):
    """`forward` and `prompted` (see batch.SequenceModel)."""

    INPUT: ClassVar[Literal["tokens"]] = "tokens"
    HEAD: ClassVar[str] = "prompted"
    CAUSAL: ClassVar[bool] = False
    PRETRAINING: ClassVar[Pretraining | None] = "masked_event"

    def __init__(self, config: Config, vocab_size: int):
        super().__init__()
        c = config
        self.config, self.width = config, c.d_model
        self.embedding = EventEmbedding(
            vocab_size, c.d_model, c.n_types, c.max_visits, c.time_dim, c.dropout, c.context
        )
        self.layers = nn.ModuleList(
            EncoderLayer(
                c.d_model,
                c.n_heads,
                c.d_ffn,
                c.dropout,
                BlockSparseAttention(c.n_heads, c.context, c.block, c.n_random, c.seed + layer),
            )
            for layer in range(c.n_layers)
        )

    def forward(self, batch: Batch) -> Tensor:
        """Hidden states (B, L, D); a position has seen what the blocks let through, later tokens too."""
        hidden: Tensor = self.embedding(batch)
        for layer in self.layers:
            hidden = layer(hidden, batch.lengths)
        return hidden

    def prompted(self, batch: Batch) -> Tensor:
        """Return hidden states (P, D) of task tokens, each ending a row of its own."""
        prefixes = prompt_prefixes(batch, self.config.task_type)
        return last_of_each(self.forward(prefixes), prefixes)
