"""Rows of tokens that each ask one question, and small models that answer them."""

from dataclasses import replace

import torch
from torch import nn

from chartscan.batch import Prompts
from chartscan.models import ehrmamba
from chartscan.objectives.prompted import Prompted
from random_batches import VOCAB_SIZE, random_batch

TASK_TOKEN = 40


def asking(lengths, seed=0, codes=None):
    """Random rows of these lengths, each with one question after its last token; [CLS] is code 5."""
    batch = random_batch(lengths, seed)
    found = batch.codes.clone() if codes is None else codes
    found[:, 0] = 5
    types = batch.types.clone()
    types[:, 0] = 1
    rows = torch.arange(len(lengths))
    prompts = Prompts(
        rows=rows,
        positions=batch.lengths - 1,
        codes=torch.full_like(rows, TASK_TOKEN),
        tasks=torch.zeros_like(rows),
        labels=torch.full((len(rows),), torch.nan),
    )
    times = batch.times * batch.attributed
    return replace(
        batch,
        codes=found,
        types=types,
        times=times,
        gaps=_gaps(times, batch.attributed),
        prompts=prompts,
    )


def _gaps(times, attributed):
    gaps = torch.zeros_like(times)
    for row in range(len(times)):
        before = None
        for place in torch.nonzero(attributed[row]).flatten().tolist():
            gaps[row, place] = 0 if before is None else times[row, place] - times[row, before]
            before = place
    return gaps


def answering(seed=0, **settings):
    """A small EHRMamba with a head of one task, in evaluation mode, and its score."""
    torch.manual_seed(seed)
    config = ehrmamba.Config(**{"d_model": 16, "n_layers": 2, "d_state": 4, "time_dim": 4} | settings)
    model, head = ehrmamba.Model(config, VOCAB_SIZE).eval(), Prompted(16, 1).eval()
    with torch.no_grad():
        head.head[-1].weight *= 20  # log odds of a usual size
    return model, head, lambda batch: head.predict(model, batch)


class Planted(nn.Module):
    """Log odds: what the embedded tokens add along one direction, where the token is `cause`."""

    def __init__(self, cause):
        super().__init__()
        torch.manual_seed(1)
        self.cause = cause
        self.embedding = nn.Embedding(VOCAB_SIZE, 8)
        with torch.no_grad():
            self.embedding.weight[:, 0] = 0
            self.embedding.weight[cause, 0] = 3

    def forward(self, batch):
        x = self.embedding(batch.codes)
        real = torch.arange(x.shape[1]) < batch.lengths.unsqueeze(1)
        return torch.tanh((torch.tanh(x[..., 0]) * real).sum(1) / 6) * 4
