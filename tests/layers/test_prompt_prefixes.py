"""A prompt's row is its history cut by hand, with the task token behind it."""

from dataclasses import replace

import pytest
import torch

from chartscan.layers.stack import last_of_each, prompt_prefixes
from random_batches import random_batch, some_prompts, tensors, with_token


def test_each_prompt_has_its_history_and_its_token_in_a_row_of_its_own():
    batch = replace(random_batch(), prompts=some_prompts())
    found, p = prompt_prefixes(batch, task_type=6), batch.prompts
    assert found.prompts is None
    for i, (row, position, code) in enumerate(
        zip(p.rows.tolist(), p.positions.tolist(), p.codes.tolist(), strict=True)
    ):
        expected = with_token(batch, row, position, code, 6)
        assert int(found.lengths[i]) == position + 2
        for name, column in tensors(found).items():
            assert torch.equal(column[i, : position + 2], getattr(expected, name)[0]), name
            assert (column[i, position + 2 :] == 0).all(), name
            assert column.dtype == getattr(batch, name).dtype


def test_rows_are_as_long_as_the_longest_history_and_its_token():
    batch = replace(random_batch(), prompts=some_prompts())
    assert prompt_prefixes(batch, 6).codes.shape == (6, 13)
    early = replace(batch.prompts, positions=torch.tensor([2, 1, 0, 3, 2, 1]))
    assert prompt_prefixes(replace(batch, prompts=early), 6).codes.shape == (6, 5)


def test_the_last_of_each_row_is_the_task_token():
    batch = replace(random_batch(), prompts=some_prompts())
    prefixes = prompt_prefixes(batch, 6)
    assert torch.equal(last_of_each(prefixes.codes, prefixes), batch.prompts.codes)


def test_without_prompts_there_is_nothing_to_ask():
    with pytest.raises(ValueError, match="no prompts"):
        prompt_prefixes(random_batch(), 6)
