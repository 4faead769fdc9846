"""The heads that pretraining leaves behind, made before their weights are known."""

import torch
from torch import nn

from chartscan.batch import Pretraining
from chartscan.errors import DataError
from chartscan.find import find
from chartscan.sequences import Vocabulary
from chartscan.sequences.specials import MASK


def pretraining_head(objective: Pretraining, width: int, vocabulary: Vocabulary) -> nn.Module:
    """A new head of `objective` for hidden states of `width` and the tokens of `vocabulary`.

    DataError where events are to be masked and the vocabulary has none.
    """
    if objective == "next_event":
        head: nn.Module = find("objectives", "next_event").NextEvent(width, len(vocabulary))
        return head
    events = sorted(vocabulary.codes.values())
    if not events:
        raise DataError(
            "The vocabulary has no event that could be masked. Train on more subjects, or lower "
            "sequence.min_subjects."
        )
    maskable = torch.zeros(len(vocabulary), dtype=torch.bool)
    maskable[events] = True
    head = find("objectives", "masked_event").MaskedEvent(width, maskable, MASK)
    return head
