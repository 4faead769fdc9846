"""The heads that pretraining leaves behind, made before their weights are known."""

import torch
from torch import nn

from chartscan.batch import Pretraining
from chartscan.errors import DataError
from chartscan.find import find
from chartscan.inputs.tokens import Vocabulary
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.specials import MASK


def pretraining_head(
    objective: Pretraining, width: int, vocabulary: Vocabulary, next_visit_weight: float = 1.0
) -> nn.Module:
    """A new head of `objective` for hidden states of `width` and the tokens of `vocabulary`.

    `next_visit_weight` is that of saying when the next visit comes and what begins it, beside 1 for any
    other next event; it matters to training only. DataError where events are to be masked and the vocabulary
    has none.
    """
    if objective == "next_event":
        shares = None if next_visit_weight == 1 else _next_visit_shares(next_visit_weight)
        head: nn.Module = find("objectives", "next_event").NextEvent(width, len(vocabulary), shares=shares)
        return head
    events = sorted(vocabulary.codes.values())
    if not events:
        raise DataError(
            "The vocabulary has no event that could be masked. Train on more subjects, or lower "
            "sequence.min_subjects."
        )
    maskable = torch.zeros(len(vocabulary), dtype=torch.bool, device="cpu")
    maskable[events] = True
    head = find("objectives", "masked_event").MaskedEvent(width, maskable, MASK)
    return head


def _next_visit_shares(weight: float) -> torch.Tensor:
    """By type of the token that something is said from: [REG] is followed by the interval to the next visit,
    [VS] by what begins it."""
    shares = torch.ones(T.N_TYPES)
    shares[[T.REG, T.VS]] = weight
    return shares
