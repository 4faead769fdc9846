"""CEHR-BERT (Pang et al. 2021, arXiv:2111.08585) as EHRMamba's paper compares it: BERT on embedded events.

Fallahpour et al. 2024, Table 4. The embedding is EHRMamba's, with a learned vector for the position. Every
token sees all of its row; padding is never attended to, which the released code does.
"""

from typing import ClassVar, Literal

import msgspec
from torch import Tensor, nn

from chartscan.batch import Batch, Pretraining
from chartscan.errors import check_at_least_one
from chartscan.layers.attention import FullAttention
from chartscan.layers.embedding import EventEmbedding
from chartscan.layers.encoder import EncoderLayer
from chartscan.layers.stack import last_of_each, prompt_prefixes
from chartscan.models import check_dropout, check_heads, check_task_type


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The paper's size by default."""

    d_model: int = 768
    n_layers: int = 6
    n_heads: int = 8
    d_ffn: int = 3072  # inner width of the feed-forward layers
    context: int = 512  # positions, the task token's included
    time_dim: int = 32  # sine waves for each of time, gap and age
    n_types: int = 24
    task_type: int = 6  # the type of task tokens
    max_visits: int = 512  # visit orders 0 .. 511
    dropout: float = 0.1  # of the embedding, the attention's probabilities and each layer's two parts

    def __post_init__(self) -> None:
        check_at_least_one(
            self, "d_model", "n_layers", "n_heads", "d_ffn", "context", "time_dim", "n_types", "max_visits"
        )
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
            EncoderLayer(c.d_model, c.n_heads, c.d_ffn, c.dropout, FullAttention(c.dropout))
            for _ in range(c.n_layers)
        )

    def forward(self, batch: Batch) -> Tensor:
        """Hidden states (B, L, D); every position has seen its whole row."""
        hidden: Tensor = self.embedding(batch)
        for layer in self.layers:
            hidden = layer(hidden, batch.lengths)
        return hidden

    def prompted(self, batch: Batch) -> Tensor:
        """Return hidden states (P, D) of task tokens, each ending a row of its own."""
        prefixes = prompt_prefixes(batch, self.config.task_type)
        return last_of_each(self.forward(prefixes), prefixes)
