"""The paper's LSTM: a bidirectional one over embedded events (Graves and Schmidhuber 2005).

Fallahpour et al. 2024, Table 4: six layers, hidden size 384, no pretraining. Hidden size is taken as that of
each direction, so that both together are as wide as the embedding. Positions are not embedded: like the Mamba
blocks, the recurrence knows the order.
"""

from typing import ClassVar, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from chartscan.batch import Batch, Pretraining
from chartscan.errors import ConfigError, check_at_least_one
from chartscan.layers.embedding import EventEmbedding
from chartscan.layers.stack import last_of_each, prompt_prefixes
from chartscan.models import check_dropout, check_task_type


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The paper's size by default."""

    d_model: int = 768  # half of it for each direction
    n_layers: int = 6
    time_dim: int = 32  # sine waves for each of time, gap and age
    n_types: int = 24
    task_type: int = 6  # the type of task tokens
    max_visits: int = 512  # visit orders 0 .. 511
    dropout: float = 0.1  # of the embedding and between layers

    def __post_init__(self) -> None:
        check_at_least_one(self, "d_model", "n_layers", "time_dim", "n_types", "max_visits")
        if self.d_model % 2:
            raise ConfigError(f"model.d_model is {self.d_model}; expected an even number.")
        check_task_type(self.task_type, self.n_types)
        check_dropout(self.dropout)


class Model(nn.Module):
    """`forward` and `prompted` (see batch.SequenceModel)."""

    INPUT: ClassVar[Literal["tokens"]] = "tokens"
    HEAD: ClassVar[str] = "prompted"
    CAUSAL: ClassVar[bool] = False
    PRETRAINING: ClassVar[Pretraining | None] = None

    def __init__(self, config: Config, vocab_size: int):
        super().__init__()
        c = config
        self.config, self.width = config, c.d_model
        self.embedding = EventEmbedding(vocab_size, c.d_model, c.n_types, c.max_visits, c.time_dim, c.dropout)
        self.lstm = nn.LSTM(
            c.d_model,
            c.d_model // 2,
            c.n_layers,
            batch_first=True,
            bidirectional=True,
            dropout=c.dropout if c.n_layers > 1 else 0.0,
        )

    def forward(self, batch: Batch) -> Tensor:
        """Hidden states (B, L, D): forward direction first. Every position has read its whole row.

        The backward direction begins at the row's last token, so that padding is never read.
        """
        embedded = self.embedding(batch).to(self.lstm.weight_hh_l0.dtype)  # under autocast too
        lengths = batch.lengths.clamp(min=1).cpu()
        with torch.autocast(embedded.device.type, enabled=False):  # else its state is rounded at every step
            packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
            hidden, _ = pad_packed_sequence(
                self.lstm(packed)[0], batch_first=True, total_length=embedded.shape[1]
            )
        return hidden

    def prompted(self, batch: Batch) -> Tensor:
        """Return hidden states (P, D) of task tokens, each ending a row of its own."""
        prefixes = prompt_prefixes(batch, self.config.task_type)
        return last_of_each(self.forward(prefixes), prefixes)
