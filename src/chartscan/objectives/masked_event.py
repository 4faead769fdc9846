"""Pretraining: say which events stood where tokens are masked, given all others of the row.

Devlin et al. 2019, arXiv:1810.04805, section 3.1; Fallahpour et al. 2024, section 2.3.1. Only events are
masked or put in another's place: structure, intervals, task tokens and [UNK] never. As in the paper, only the
code is hidden: type, time, gap, age and visit stay, so that the question is which laboratory result it was
and not whether it was one.
"""

import zlib
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.batch import PAD, Batch, Loss, SequenceModel
from chartscan.kernels import linear
from chartscan.objectives._token_loss import token_loss, vocabulary_map

MASKED, REPLACED = 0.8, 0.1  # of the chosen tokens; the rest stay as they are


class MaskedEvent(nn.Module):
    """BERT's head softmax(W norm(GELU(W' h)) + b) and its cross-entropy at the chosen tokens.

    `maskable` (V,) bool says which tokens are events, `mask_id` is [MASK]. `embedding`, (V, D), ties W to the
    model's table of codes. In training every token is chosen with probability `rate`, drawn from PyTorch's
    generator on the CPU, which checkpoints keep. In evaluation the choice follows from `seed` and the row's
    codes alone, so that losses are comparable between epochs, however rows are batched.
    """

    maskable: Tensor  # (V,) bool
    events: Tensor  # the ids that are maskable

    def __init__(
        self,
        width: int,
        maskable: Tensor,
        mask_id: int,
        embedding: nn.Embedding | None = None,
        rate: float = 0.15,
        seed: int = 0,
    ):
        super().__init__()
        if not maskable.any() or maskable[[PAD, mask_id]].any():
            raise ValueError("expected maskable tokens, and neither padding nor [MASK] among them")
        self.mask_id, self.rate, self.seed = mask_id, rate, seed
        self.register_buffer("maskable", maskable, persistent=False)
        self.register_buffer("events", maskable.nonzero().squeeze(1), persistent=False)
        self.transform = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        nn.init.normal_(self.transform.weight, std=0.02)
        nn.init.zeros_(self.transform.bias)
        self.linear = vocabulary_map(width, len(maskable), embedding)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of the token that stood at each hidden state (..., D)."""
        return linear(self._transformed(hidden), self.linear.weight, self.linear.bias)

    def loss(self, model: SequenceModel, batch: Batch) -> Loss:
        """Loss over the chosen tokens."""
        codes, chosen = self.masked(batch)
        hidden = model(replace(batch, codes=codes))[chosen]
        targets = batch.codes[chosen]
        transformed = self._transformed(hidden)
        total = token_loss(transformed, self.linear.weight, self.linear.bias, targets)
        return Loss(total, len(targets), len(targets))

    def masked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Codes (B, L) as the model may see them, and which are asked for (B, L) bool."""
        codes = batch.codes
        draws = _free_draws(codes) if self.training else _fixed_draws(batch, self.seed)
        choice, fate, other = draws.to(codes.device)
        chosen = self.maskable[codes] & (choice < self.rate)
        replacement = self.events[(other * len(self.events)).long()]
        shown = torch.where(fate < MASKED, self.mask_id, codes)
        shown = torch.where((fate >= MASKED) & (fate < MASKED + REPLACED), replacement, shown)
        return torch.where(chosen, shown, codes), chosen

    def _transformed(self, hidden: Tensor) -> Tensor:
        inner = F.gelu(linear(hidden, self.transform.weight, self.transform.bias))
        transformed: Tensor = self.norm(inner)
        return transformed


def _free_draws(codes: Tensor) -> Tensor:
    """Three uniform numbers a token, (3, B, L) float64: the same on every device."""
    return torch.rand(3, *codes.shape, dtype=torch.float64)


def _fixed_draws(batch: Batch, seed: int) -> Tensor:
    """As `_free_draws`, each row's from a generator of its own; zeros at padding, which is never masked."""
    codes, lengths = batch.codes.cpu(), batch.lengths.tolist()
    draws = torch.zeros(3, *codes.shape, dtype=torch.float64)
    for row, length in enumerate(lengths):
        real = codes[row, :length]
        generator = torch.Generator().manual_seed(zlib.crc32(real.numpy().tobytes(), seed))
        draws[:, row, :length] = torch.rand(3, length, dtype=torch.float64, generator=generator)
    return draws
