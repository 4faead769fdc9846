"""Block-sparse attention equals dense attention under a mask written by loops, and costs what it should."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from chartscan.layers.attention import FullAttention
from chartscan.layers.encoder import BlockSparseAttention, random_blocks
from largest_tensor import LargestTensor

HEADS, SIZE, BLOCK, RANDOM, CONTEXT = 2, 4, 4, 3, 80
CLOSE = {"rtol": 0, "atol": 1e-5}


def attention(n_random=RANDOM, seed=0, block=BLOCK, context=CONTEXT):
    return BlockSparseAttention(HEADS, context, block, n_random, seed)


def inputs(lengths, seed=0, more=0, dtype=torch.float32):
    """Queries, keys and values, and lengths; `more` columns of padding with large numbers in it."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(lengths), HEADS, max(lengths) + more, SIZE
    qkv = [torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3)]
    for row, length in enumerate(lengths):
        for x in qkv:
            x[row, :, length:] = 50.0
    return [x.requires_grad_() for x in qkv], torch.tensor(lengths)


def seen_by_loops(length, drawn, block):
    """Whether token i of a row sees token j, (heads, length, length); `drawn` are lists by head and block."""
    blocks = -(-length // block)
    seen = np.zeros((len(drawn), length, length), dtype=bool)
    for head, lists in enumerate(drawn):
        for i in range(length):
            for j in range(length):
                here, there = i // block, j // block
                whole = {here, there} & {0, blocks - 1}
                seen[head, i, j] = bool(whole) or abs(here - there) <= 1 or there in lists[here]
    return torch.from_numpy(seen)


def dense(qkv, row, length, seen):
    """One row by the formula, under a mask."""
    query, key, value = (x[row, :, :length] for x in qkv)
    scores = query @ key.transpose(1, 2) / SIZE**0.5
    return scores.masked_fill(~seen, -torch.inf).softmax(2) @ value


@pytest.mark.parametrize("n_random", [0, 1, 3])
@pytest.mark.parametrize("lengths", [(80, 77, 33), (29, 80, 1), (36, 4, 16), (61,), (32,)])
def test_it_equals_dense_attention_under_the_written_mask(n_random, lengths):
    module, (qkv, given_lengths) = attention(n_random), inputs(lengths, more=3, dtype=torch.float64)
    found = module(*[x[:, :, :CONTEXT] for x in qkv], given_lengths)
    total = 0.0
    for row, length in enumerate(lengths):
        blocks = -(-length // BLOCK)
        seen = seen_by_loops(length, module.random[blocks].tolist(), BLOCK)
        expected = dense(qkv, row, length, seen)
        torch.testing.assert_close(found[row, :, :length], expected, rtol=0, atol=1e-10)
        total = total + (expected * expected.detach().cos()).sum()
    real = torch.cat([found[row, :, :n].flatten() for row, n in enumerate(lengths)])
    ours = torch.autograd.grad((real * real.detach().cos()).sum(), qkv)
    for a, b in zip(ours, torch.autograd.grad(total, qkv), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, CONTEXT), min_size=1, max_size=4), st.integers(0, 30), st.integers(0, 2**31))
def test_neither_padding_nor_batch_mates_change_anything(lengths, more, seed):
    module = attention()
    qkv, given_lengths = inputs(lengths, seed, min(more, CONTEXT - max(lengths)))
    together = module(*qkv, given_lengths)
    for row, length in enumerate(lengths):
        alone = module(*[x[row : row + 1, :, :length] for x in qkv], torch.tensor([length]))
        torch.testing.assert_close(together[row, :, :length], alone[0], **CLOSE)


def test_a_last_block_of_the_padded_length_would_be_noticed(monkeypatch):
    """As in the usual implementations: planted, it makes batch-mates matter."""
    module, (qkv, lengths) = attention(), inputs((80, 50))
    alone = module(*[x[1:, :, :50] for x in qkv], torch.tensor([50]))
    torch.testing.assert_close(module(*qkv, lengths)[1:, :, :50], alone, **CLOSE)
    right = BlockSparseAttention._seen
    monkeypatch.setattr(
        BlockSparseAttention, "_seen", lambda self, last, n: right(self, torch.full_like(last, n - 1), n)
    )
    assert (module(*qkv, lengths)[1:, :, :50] - alone).abs().max() > 1e-2


@pytest.mark.parametrize("length", [1, BLOCK, 5 * BLOCK + 1, (RANDOM + 4) * BLOCK])
def test_short_rows_see_all_of_themselves(length):
    module, (qkv, lengths) = attention(), inputs((length,))
    assert torch.equal(module(*qkv, lengths), FullAttention()(*qkv, lengths))


def test_a_short_row_sees_all_of_itself_beside_a_long_one():
    module, (qkv, lengths) = attention(), inputs((CONTEXT, (RANDOM + 4) * BLOCK, 3))
    found, full = module(*qkv, lengths), FullAttention()(*qkv, lengths)
    for row in (1, 2):
        torch.testing.assert_close(found[row, :, : lengths[row]], full[row, :, : lengths[row]], **CLOSE)
    assert (found[0] - full[0]).abs().max() > 1e-2


def test_it_is_the_same_in_training_and_in_use_and_follows_from_the_seed():
    qkv, lengths = inputs((CONTEXT,))
    trained = attention().train()(*qkv, lengths)
    assert torch.equal(attention().eval()(*qkv, lengths), trained)
    assert not torch.equal(attention(seed=1)(*qkv, lengths), trained)
    assert not attention().state_dict()


def cost(length, block=64):
    """Operations and the largest tensor of a forward and backward pass of one row, in countable products."""
    module = attention(block=block, context=length)
    qkv, lengths = inputs((length,))
    counted = FlopCounterMode(display=False), LargestTensor()
    with sdpa_kernel(SDPBackend.MATH), counted[0] as flops, counted[1] as largest:
        module(*qkv, lengths).sum().backward()
    return flops.get_total_flops(), largest.numbers


def test_operations_and_memory_grow_with_the_length_and_not_with_its_square():
    operations, numbers = cost(1024)
    more_operations, more_numbers = cost(4096)
    assert more_operations <= 4.5 * operations
    assert more_numbers <= 4.5 * numbers
    full_operations, full_numbers = cost(4096, block=4096)
    assert full_operations > 5 * more_operations
    assert full_numbers > 5 * more_numbers


def test_what_is_gathered_is_not_kept_for_the_backward_pass():
    module, (qkv, lengths) = attention(block=64, context=2048), inputs((2048,))
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(*qkv, lengths)
    assert sum(kept.values()) < 10 * qkv[0].numel()


def test_random_blocks_are_free_distinct_and_as_many_as_there_are():
    drawn = random_blocks(3, 12, RANDOM, 5)
    for n in range(13):
        for head in range(3):
            for i in range(1, n - 1):  # the first and the last see everything
                free = {j for j in range(1, n - 1) if abs(i - j) > 1}
                taken = [j for j in drawn[n, head, i].tolist() if j >= 0]
                assert set(taken) <= free
                assert len(taken) == len(set(taken)) == min(RANDOM, len(free))


def test_every_free_block_is_drawn_equally_often():
    drawn = random_blocks(4000, 10, RANDOM, 0)[10, :, 4]  # 4 sees 0, 3, 4, 5 and 9 anyway
    counts = np.bincount(drawn.flatten(), minlength=10)
    assert set(np.flatnonzero(counts)) == {1, 2, 6, 7, 8}
    expected = 4000 * RANDOM / 5
    assert (np.abs(counts[[1, 2, 6, 7, 8]] - expected) < 5 * expected**0.5).all()


def test_a_longer_row_keeps_what_is_still_best():
    """One more block displaces one random block at most, or frees one."""
    drawn = random_blocks(2, 30, RANDOM, 0)
    for n in range(10, 30):
        kept = [len(set(drawn[n, h, i]) & set(drawn[n + 1, h, i])) for h in range(2) for i in range(1, n - 1)]
        assert min(kept) >= RANDOM - 1


def test_random_blocks_are_those_of_the_day_they_were_first_published():
    """A model's weights fit these and no others: if they move, older artifacts compute something else."""
    assert random_blocks(1, 12, RANDOM, 0)[12, 0, 1:5].tolist() == [
        [4, 3, 10],
        [10, 6, 5],
        [7, 10, 5],
        [7, 6, 9],
    ]


@pytest.mark.parametrize("lengths", [(80, 77, 33), (29, 80, 1), (32, 7)])
def test_the_weights_times_the_values_are_what_is_attended(lengths):
    (query, key, value), given_lengths = inputs(lengths, dtype=torch.float64)
    for module in (attention(), FullAttention()):
        weights = module.weights(query, key, given_lengths)
        found, expected = weights @ value, module(query, key, value, given_lengths)
        for row, length in enumerate(lengths):
            torch.testing.assert_close(found[row, :, :length], expected[row, :, :length], **CLOSE)
            assert not weights[row, :, :length, length:].any()


def test_the_weights_are_nothing_where_nothing_is_seen():
    (query, key, _), lengths = inputs((80,))
    module = attention()
    drawn = module.random[20].tolist()
    seen = seen_by_loops(80, drawn, BLOCK)
    assert torch.equal(module.weights(query, key, lengths)[0] > 0, seen)
