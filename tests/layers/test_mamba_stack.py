"""A stack of blocks steps natively where it can, and block by block where it must, with one result."""

import copy
import pickle

import pytest
import torch
from torch.nn.utils import prune

from chartscan.layers.mamba import MambaBlock, MambaStack


def stack(backend="auto"):
    torch.manual_seed(0)
    return MambaStack(MambaBlock(12, 5, 4, 2, 3, backend) for _ in range(2))


def folded(blocks, x):
    state, hidden = blocks.init_state(len(x)), []
    for token in x.unbind(1):
        h, state = blocks.step(token, state)
        hidden.append(h)
    return torch.stack(hidden, 1)


X = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_steps_equal_one_pass_with_and_without_gradients_and_by_every_backend():
    expected = stack("reference")(X)
    torch.testing.assert_close(folded(stack(), X), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(folded(stack("chunked"), X), expected, rtol=1e-5, atol=1e-5)
    with torch.enable_grad():
        found = folded(stack(), X)
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_pruned_block_steps_all_the_same():
    blocks = stack()
    folded(blocks, X)
    prune.l1_unstructured(blocks[0].in_proj, "weight", amount=0.3)
    torch.testing.assert_close(folded(blocks, X), blocks(X), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_stack_that_has_stepped_can_be_copied_and_keeps_to_its_own_weights():
    blocks = stack()
    before = folded(blocks, X)
    twins = copy.deepcopy(blocks), pickle.loads(pickle.dumps(blocks))  # noqa: S301 (our own bytes)
    blocks[0].in_proj.weight.mul_(2)
    assert all(torch.equal(folded(twin, X), before) for twin in twins)
    assert not torch.allclose(folded(blocks, X), before)
    blocks.load_state_dict(twins[0].state_dict(), assign=True)
    assert torch.equal(folded(blocks, X), before)


@torch.no_grad()
def test_a_step_in_fake_tensors_gives_shapes():
    mode = torch._subclasses.FakeTensorMode()
    with mode:
        blocks = stack()
        y, _ = blocks.step(torch.randn(2, 12), blocks.init_state(2))
    assert y.shape == (2, 12)


@pytest.mark.parametrize("loss_of", ["y", "states", "both"])
def test_a_fork_may_be_used_in_part(loss_of):
    blocks = stack()
    y, states = blocks.fork(X, torch.tensor([1]), torch.tensor([3]))
    parts = {"y": y.sum(), "states": states[0].scan.sum() + states[1].scan.sum()}
    total = sum(parts.values()) if loss_of == "both" else parts[loss_of]
    total.backward()
    assert blocks[0].in_proj.weight.grad.abs().sum() > 0
