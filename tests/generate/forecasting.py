"""A small random artifact that forecasts, and histories of the population of token_events."""

import numpy as np
import torch

from chartscan.artifact import Artifact, Network
from chartscan.generate import history_of
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import fit_pace, timelines
from chartscan.models import ehrmamba
from chartscan.objectives.next_event import NextEvent
from token_events import encoder, population

CONFIG = ehrmamba.Config(d_model=16, n_layers=2, d_state=4, time_dim=4)
TABLE = population()


def artifact(seed=0, **settings):
    """Weights far from uniform, so that different histories have different futures."""
    torch.manual_seed(seed)
    made = encoder(**settings)
    size = len(made.vocabulary)
    head = NextEvent(16, size).eval()
    torch.nn.init.normal_(head.linear.weight, std=0.7)
    pace = fit_pace([e for _, e in made.encode_shard(TABLE)], size)
    model = ehrmamba.Model(CONFIG, size).eval()
    reader = TokenReader(made.vocabulary, made._lookup._bins, pace)
    return Artifact(reader, Network("ehrmamba", CONFIG, model, {"forecast": head}))


def histories(found, ends=None, context=None):
    """The first `ends` tokens of every subject (default: of very unlike lengths)."""
    made = encoder(**{"visit_tokens_attributed": found.reader.vocabulary.config.visit_tokens_attributed})
    lines = timelines(TABLE, found.reader.vocabulary.config)
    result = []
    for i, (subject, whole) in enumerate(made.encode_shard(TABLE)):
        end = (1, 2, 9, whole.n - 1, whole.n)[i % 5] if ends is None else min(ends, whole.n)
        now = int(whole.known.view(np.int64)[max(end - 1, 2)])
        result.append(history_of(found, subject, whole.prefix(end), lines[subject], now, context))
    return result
