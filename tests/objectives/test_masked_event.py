"""Masked-event pretraining: what is masked and how often, and the loss, which is the plain cross-entropy."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from chartscan.models.cehr_bert import Config, Model
from chartscan.objectives.masked_event import MaskedEvent
from chartscan.training import checkpoint
from random_batches import VOCAB_SIZE, random_batch, rows_and_steps, with_padding

MASK, FIRST = 2, 10
MASKABLE = torch.arange(VOCAB_SIZE) >= FIRST
MANY = (900, 1000, 1, 700, 1000, 350) * 10  # tokens by row, for counting


def objective(embedding=None, rate=0.15, seed=0):
    torch.manual_seed(0)
    return MaskedEvent(32, MASKABLE, MASK, embedding, rate, seed)


def model_and_objective(tied=False):
    torch.manual_seed(0)
    model = Model(Config(d_model=32, n_layers=1, d_ffn=64, context=64, dropout=0.0), VOCAB_SIZE).double()
    return model, objective(model.embedding.codes if tied else None, rate=0.5).double().eval()


def broken_rules(before, shown, chosen, maskable):
    """What is wrong with masked codes, in words; empty where nothing is."""
    put = chosen & (shown != before) & (shown != MASK)
    wrong = {
        "a token that may not be masked was": (chosen & ~maskable[before]).any(),
        "a token was changed without being asked for": ((shown != before) & ~chosen).any(),
        "a token was put that is no event": (put & ~maskable[shown]).any(),
    }
    return {words for words, found in wrong.items() if found}


@pytest.mark.parametrize("training", [True, False])
def test_only_events_are_masked_or_put_and_nothing_else_changes(training):
    batch = random_batch(MANY)
    shown, chosen = objective(rate=0.5).train(training).masked(batch)
    assert chosen.any()
    assert not broken_rules(batch.codes, shown, chosen, MASKABLE)


def test_broken_rules_are_found():
    batch = random_batch(MANY)
    all_tokens = MaskedEvent(32, torch.arange(VOCAB_SIZE) > MASK, MASK, rate=0.9).eval()
    shown, chosen = all_tokens.masked(batch)
    structure = "a token that may not be masked was"
    assert broken_rules(batch.codes, shown, chosen, MASKABLE) == {
        structure,
        "a token was put that is no event",
    }
    shown, chosen = objective().masked(batch)
    assert broken_rules(batch.codes, (shown + 1) % VOCAB_SIZE, chosen, MASKABLE)


@pytest.mark.parametrize("training", [True, False])
def test_of_the_events_15_percent_are_chosen_and_of_these_80_10_10_are_masked_replaced_kept(training):
    batch = random_batch(MANY)
    shown, chosen = objective().train(training).masked(batch)
    events, n = int(MASKABLE[batch.codes].sum()), int(chosen.sum())
    before, after = batch.codes[chosen], shown[chosen]
    replaced = 0.1 * (1 - 1 / int(MASKABLE.sum()))  # a token may be put in its own place
    expected = {"masked": 0.8, "replaced": replaced, "kept": 0.2 - replaced}
    found = {
        "masked": int((after == MASK).sum()),
        "replaced": int(((after != MASK) & (after != before)).sum()),
        "kept": int((after == before).sum()),
    }
    assert abs(n - 0.15 * events) < 4 * math.sqrt(events * 0.15 * 0.85)
    for fate, share in expected.items():
        assert abs(found[fate] - share * n) < 4 * math.sqrt(n * share * (1 - share)), fate


def test_every_event_is_put_equally_often():
    batch = random_batch(MANY)
    shown, chosen = objective(rate=1.0).masked(batch)
    put = shown[chosen & (shown != batch.codes) & (shown != MASK)]
    counts = torch.bincount(put, minlength=VOCAB_SIZE)[FIRST:].double()
    assert ((counts - counts.mean()).abs() < 5 * counts.mean().sqrt()).all()


def written_loss(model, head, batch):
    """Row by row, token by token, from all logits."""
    shown, chosen = head.masked(batch)
    logits, total, count = head(model(replace(batch, codes=shown))), 0.0, 0
    for row, length in enumerate(batch.lengths.tolist()):
        for step in range(length):
            if chosen[row, step]:
                total = total + cross_entropy(logits[row, step], batch.codes[row, step])
                count += 1
    return total, count


def gradients(loss, *modules):
    parameters = {id(p): p for m in modules for p in m.parameters()}
    return torch.autograd.grad(loss, list(parameters.values()))


@pytest.mark.parametrize("tied", [False, True])
def test_loss_and_gradients_equal_the_written_loss(tied):
    model, head = model_and_objective(tied)
    batch = random_batch(lengths=(12, 7, 9, 1))
    loss, count, _ = head.loss(model, batch)
    expected, expected_count = written_loss(model, head, batch)
    assert count == expected_count > 5
    torch.testing.assert_close(loss, expected)
    found = gradients(3 * loss, model, head)
    for a, b in zip(found, gradients(3 * expected, model, head), strict=True):
        torch.testing.assert_close(a, b)


class Watched:
    """A model that remembers what it was shown."""

    def __init__(self, model):
        self.model, self.shown = model, []

    def __call__(self, batch):
        self.shown.append(batch.codes)
        return self.model(batch)


def test_the_model_is_shown_the_masked_codes_alone():
    model, head = model_and_objective()
    watched, batch = Watched(model), random_batch(lengths=(30,))
    shown, _ = head.masked(batch)
    head.loss(watched, batch)
    assert torch.equal(watched.shown[0], shown)
    assert (shown == MASK).sum() > 3


def test_evaluation_masks_a_row_the_same_whatever_the_batch_and_the_epoch():
    head, batch = objective(rate=0.5).eval(), random_batch((40, 25, 33))
    shown, chosen = head.masked(batch)
    torch.rand(7)
    again, _ = head.masked(batch)
    assert torch.equal(again, shown)
    padded, _ = head.masked(with_padding(batch, 9))
    assert torch.equal(padded[:, :40], shown)
    alone, asked = head.masked(rows_and_steps(batch, slice(1, 2), slice(0, 25)))
    assert torch.equal(alone[0], shown[1, :25])
    assert torch.equal(asked[0], chosen[1, :25])
    other, _ = objective(rate=0.5, seed=1).eval().masked(batch)
    assert not torch.equal(other, shown)


def test_evaluation_leaves_the_random_numbers_of_training_alone():
    head, batch = objective().eval(), random_batch()
    before = checkpoint.tensors()
    head.masked(batch)
    assert torch.equal(checkpoint.tensors()["cpu"], before["cpu"])


def test_training_masks_anew_and_goes_on_exactly_from_a_checkpoints_state():
    head, batch = objective(rate=0.5), random_batch((40, 25))
    kept = checkpoint.tensors(), checkpoint.plain()
    first, second = head.masked(batch)[0], head.masked(batch)[0]
    assert not torch.equal(first, second)
    checkpoint.restore(*kept)
    assert torch.equal(head.masked(batch)[0], first)
    assert torch.equal(head.masked(batch)[0], second)


def test_a_batch_without_events_has_nothing_to_say():
    model, head = model_and_objective()
    batch = random_batch((4, 3))
    loss, count, _ = head.loss(model, replace(batch, codes=batch.codes.clamp(max=FIRST - 1)))
    loss.backward()
    assert (float(loss.detach()), count) == (0.0, 0)


def test_what_follows_from_the_vocabulary_is_not_saved_with_the_weights():
    assert set(objective().state_dict()) == {
        f"{part}.{name}" for part in ("transform", "norm", "linear") for name in ("weight", "bias")
    }


@pytest.mark.parametrize("wrong", [[], [0, 20], [MASK, 20]])
def test_impossible_maskable_tokens_are_refused(wrong):
    maskable = torch.zeros(VOCAB_SIZE, dtype=torch.bool)
    maskable[torch.tensor(wrong, dtype=torch.int64)] = True
    with pytest.raises(ValueError, match="expected maskable tokens"):
        MaskedEvent(32, maskable, MASK)
