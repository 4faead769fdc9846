"""Truncation to the most recent tokens, against the published rule written out slowly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.inputs.tokens import cut, window
from chartscan.inputs.tokens import types as T
from token_events import DAY, HOUR, birth, code_encoder, encoder, event, names, population, same, table

MADE = encoder()
WHOLE = MADE.encode_shard(population(subjects=1, events=300, seed=4))[0][1]
FIGURE = encoder(visit_tokens_attributed=True)
FIGURE_WHOLE = FIGURE.encode_shard(population(subjects=1, events=300, seed=4))[0][1]


def published_rule(tokens, context, statics):
    """B.3 on token names; `statics` tokens after [CLS] are kept as well."""
    if len(tokens) <= context:
        return tokens
    start = len(tokens) - context + 2 + statics
    if tokens[start] == "[VE]":
        start += 3
    elif tokens[start] == "[REG]":
        start += 2
    elif tokens[start].startswith(("[W_", "[M_", "[LT]")):
        start += 1
    kept = tokens[start:]
    head = tokens[: 1 + statics]
    return head + kept if kept[:1] == ["[VS]"] else [*head, "[VS]", *kept]


@settings(deadline=None, max_examples=150)
@given(end=st.integers(2, WHOLE.n), context=st.integers(16, 120))
def test_windows_follow_the_published_rule(end, context):
    found = window(WHOLE, end, context)
    assert names(MADE, found) == published_rule(names(MADE, WHOLE)[:end], context, statics=1)
    assert found.n <= context
    assert found.n == cut(WHOLE.types, end, context).length


@settings(deadline=None, max_examples=150)
@given(end=st.integers(2, WHOLE.n), context=st.integers(16, 120), figure=st.booleans())
def test_a_window_numbers_its_visits_from_1_and_keeps_everything_else(end, context, figure):
    whole = FIGURE_WHOLE if figure else WHOLE
    found, kept = window(whole, end, context), cut(whole.types, end, context)
    tail = slice(kept.start, kept.end)
    head = found.n - (kept.end - kept.start)
    for name in ("codes", "types", "ages", "times", "attributed", "known"):
        np.testing.assert_array_equal(getattr(found, name)[head:], getattr(whole, name)[tail])
    seen = found.visit_orders[found.attributed]
    if end > 3:
        assert seen[0] == 1
    assert set(np.diff(seen)) <= {0, 1}
    np.testing.assert_array_equal(found.segments[found.attributed], 2 - seen % 2)
    assert not found.visit_orders[~found.attributed].any()
    times, gaps = found.times[found.attributed], found.gaps[found.attributed]
    np.testing.assert_allclose(gaps, np.diff(times, prepend=times[:1]), atol=2e-5)


def test_a_history_that_fits_is_left_alone():
    same(window(WHOLE, 50, 50), WHOLE.prefix(50))


def test_a_window_cut_in_each_structure_starts_cleanly():
    starts = {}
    for end in range(60, WHOLE.n):
        first = end - 20 + 2 + 1
        starts.setdefault(int(WHOLE.types[first]), names(MADE, window(WHOLE, end, 20))[2])
    assert {T.VE, T.REG, T.INTERVAL, T.VS} <= set(starts)
    assert set(starts.values()) == {"[VS]"}


@pytest.mark.parametrize("statics", [0, 1, 30])
def test_static_facts_are_kept_up_to_a_quarter_of_the_context(statics):
    made = code_encoder()
    facts = [event("static", None, f"X//{k}") for k in range(statics)]
    labs = [event("lab", k * HOUR) for k in range(200)]
    found = window(made.encode(table([birth(), *facts, *labs])), 201 + statics, 40)
    assert (found.types == T.STATIC).sum() == min(statics, 10)
    assert found.n == 40


def test_visit_numbers_restart_after_more_visits_than_the_table_has():
    made = code_encoder()
    found = made.encode(table([event("lab", 2 * k * DAY) for k in range(900)]))
    last = window(found, found.n, 100)
    assert last.visit_orders[last.attributed].tolist() == list(range(1, last.attributed.sum() + 1))
