"""The linear probe: what it reads of a row, written as a loop, and its answers."""

from dataclasses import replace

import pytest
import torch

from chartscan.find import find
from chartscan.models import bigbird, ehrmamba
from chartscan.objectives.probe import Probe, known
from random_batches import VOCAB_SIZE, random_batch, some_prompts, with_padding

CONFIGS = {
    "ehrmamba": ehrmamba.Config(d_model=32, n_layers=2, dropout=0.0),
    "bigbird": bigbird.Config(d_model=32, n_layers=1, n_heads=2, d_ffn=32, dropout=0.0),
}


def model_and_batch(name="ehrmamba"):
    torch.manual_seed(0)
    model = find("models", name).Model(CONFIGS[name], VOCAB_SIZE).eval()
    return model, replace(random_batch(), prompts=some_prompts())


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_known_is_the_latest_state_and_the_mean_of_all_written_as_a_loop(name):
    model, batch = model_and_batch(name)
    hidden, found = model(batch), known(model, batch)
    assert found.shape == (len(batch.prompts.rows), 64)
    for p, (row, position) in enumerate(zip(batch.prompts.rows, batch.prompts.positions, strict=True)):
        states = [h / (h.square().mean() + 1e-5).sqrt() for h in hidden[row, : position + 1]]
        mean = sum(states) / len(states)
        torch.testing.assert_close(found[p], torch.cat([states[-1], mean]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_neither_padding_nor_what_follows_nor_the_task_token_changes_what_is_known():
    model, batch = model_and_batch()
    expected = known(model, batch)
    torch.testing.assert_close(known(model, with_padding(batch, 5)), expected)
    asked = torch.full((len(batch.lengths),), -1)
    asked.scatter_reduce_(0, batch.prompts.rows, batch.prompts.positions, "amax")
    later = (torch.arange(batch.codes.shape[1]) > asked.unsqueeze(1)) & (batch.codes > 0)
    codes = torch.where(later, (batch.codes + 1) % VOCAB_SIZE, batch.codes)
    assert (codes != batch.codes).any()
    torch.testing.assert_close(known(model, replace(batch, codes=codes)), expected)
    others = replace(batch.prompts, codes=batch.prompts.codes + 1)
    torch.testing.assert_close(known(model, replace(batch, prompts=others)), expected)


@torch.no_grad()
def test_each_task_has_weights_of_its_own():
    model, batch = model_and_batch()
    probe, read = Probe(32, 4), known(model, batch)
    torch.nn.init.normal_(probe.weight)
    torch.nn.init.normal_(probe.bias)
    for p, task in enumerate(batch.prompts.tasks.tolist()):
        expected = probe.weight[task] @ read[p] + probe.bias[task]
        torch.testing.assert_close(probe.predict(model, batch)[p], expected)
