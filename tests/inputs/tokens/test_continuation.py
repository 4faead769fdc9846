"""Futures advance by the encoder's own state machine: replayed records, typed and timed tokens, grammar."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.inputs.tokens import (
    Continuation,
    Encoded,
    Grammar,
    Origin,
    Pace,
    encoded_from,
    fit_pace,
    timelines,
    violations,
    visible,
)
from chartscan.inputs.tokens import specials as S
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.pace import is_event
from chartscan.inputs.tokens.specials import interval_days, interval_token
from chartscan.inputs.tokens.timeline import Attributes
from token_events import CODES, DAY, HOUR, birth, code_encoder, encoder, event, population, rows, same, table

PLAIN = code_encoder()
ATTRIBUTED = code_encoder(visit_tokens_attributed=True)
MADE = [PLAIN, ATTRIBUTED]
NOW = 10**15
EVERY_CODE = [event(k, None if k == "static" else 1 * HOUR, c) for k, codes in CODES.items() for c in codes]
PACE = fit_pace([PLAIN.encode(table(EVERY_CODE))], len(PLAIN.vocabulary))
OF_MANY = encoder()
FITTED = fit_pace([e for _, e in OF_MANY.encode_shard(population())], len(OF_MANY.vocabulary))


def sequence_of(made, found):
    """Tokens of rows, and their timeline."""
    whole = made.encode(table(found))
    return whole, timelines(table(found), made.config)[1]


def joined(before, tokens):
    """A history and the tokens after it as one sequence."""
    after = encoded_from(tokens)
    names = [f.name for f in dataclasses.fields(Encoded)]
    return Encoded(*(np.concatenate([getattr(before, n), getattr(after, n)]) for n in names))


def replayed(made, whole, timeline, end):
    """The tokens after the first `end`, given again with their own types and true times."""
    history = whole.prefix(end)
    known = whole.known.view(np.int64).tolist()
    state = Continuation.after(history, timeline.origin(history, known[end - 1]), made.config, PACE)
    event_number = int(is_event(history.types).sum())
    times = [*timeline.times.tolist(), NOW]  # the last for what ends a record, and has no time of its own
    tokens = []
    for i in range(end, whole.n):
        instant = int(times[event_number])
        moment = Attributes(made.config, timeline.birth).moment(instant, known[i])
        tokens.append(state.place(int(whole.codes[i]), int(whole.types[i]), moment))
        event_number += int(is_event(whole.types[i : i + 1])[0])
    return tokens


@pytest.mark.parametrize("made", MADE)
@settings(deadline=None, max_examples=80)
@given(found=rows(), share=st.floats(0, 1, exclude_max=True))
def test_replaying_the_rest_of_a_record_gives_the_encoders_attributes_bit_for_bit(made, found, share):
    found = [r for r in found if r["event_type"] != "birth"] + [birth()]
    whole, timeline = sequence_of(made, found)
    end = 1 + int(share * (whole.n - 1))
    if end < whole.n:
        same(joined(whole.prefix(end), replayed(made, whole, timeline, end)), whole)


def test_a_replay_that_forgets_a_visit_is_noticed():
    whole, timeline = sequence_of(PLAIN, two_stays())
    end = int(np.flatnonzero(whole.types == T.VS)[1])
    tokens = [t._replace(visit_order=1) if t.attributed else t for t in replayed(PLAIN, whole, timeline, end)]
    with pytest.raises(AssertionError, match="visit_orders"):
        same(joined(whole.prefix(end), tokens), whole)


def two_stays(days=16):
    first, second = {"encounter_id": "1"}, {"encounter_id": "2"}
    return [
        birth(),
        event("admission", 0 * HOUR, **first),
        event("lab", 1 * HOUR, "LOINC//2", **first),
        event("lab", 7 * HOUR, "LOINC//1", **first),
        event("lab", 7 * HOUR, "LOINC//2", **first),
        event("discharge", 30 * HOUR, **first),
        event("admission", 30 * HOUR + days * DAY, **second),
        event("lab", 31 * HOUR + days * DAY, "LOINC//1", **second),
        event("discharge", 60 * HOUR + days * DAY, **second),
    ]


@pytest.mark.parametrize("made", MADE)
def test_the_pace_of_one_record_tells_that_record_again(made):
    whole, timeline = sequence_of(made, two_stays())
    pace = fit_pace([whole], len(made.vocabulary))
    for end in range(1, whole.n):
        history = whole.prefix(end)
        known = int(timeline.times[0])
        state = Continuation.after(history, timeline.origin(history, known), made.config, pace)
        told = joined(history, [state.push(int(code), 0.5) for code in whole.codes[end:]])
        for name in ("codes", "types", "segments", "visit_orders", "attributed"):
            np.testing.assert_array_equal(getattr(told, name), getattr(whole, name), err_msg=f"{name} {end}")
        for name in ("times", "gaps", "ages"):  # medians of few steps, not each step's own
            np.testing.assert_allclose(getattr(told, name), getattr(whole, name), atol=0.15, err_msg=name)


def test_a_copy_goes_its_own_way():
    whole, timeline = sequence_of(PLAIN, two_stays())
    pace = fit_pace([whole], len(PLAIN.vocabulary))
    end = int(np.flatnonzero(whole.types == T.INTERVAL)[0])
    history = whole.prefix(end)
    one = Continuation.after(history, timeline.origin(history, NOW), PLAIN.config, pace)
    other = one.copy()
    codes = whole.codes[end:].tolist()
    alone = [one.push(c, 0.5) for c in codes]
    assert [other.push(c, 0.5) for c in codes] == alone


def test_time_moves_on_where_ids_do_not_ascend_and_stands_still_in_a_panel():
    whole, timeline = sequence_of(PLAIN, two_stays())
    pace = fit_pace([whole], len(PLAIN.vocabulary))
    end = 4  # [CLS] [VS] admission, LOINC//2
    state = Continuation.after(whole.prefix(end), timeline.origin(whole.prefix(end), NOW), PLAIN.config, pace)
    lab_1, lab_2 = (PLAIN.vocabulary.codes[f"LOINC//{i}"] for i in (1, 2))
    moved, panel = state.push(lab_1, 0.5), state.push(lab_2, 0.5)
    assert moved.gap * 7 * 24 == pytest.approx(6, abs=1e-3)
    assert panel.gap == 0


@given(
    place=st.floats(0, 1, exclude_max=True),
    token=st.integers(S.FIRST_WEEK, S.LONG_TERM),
    last=st.sampled_from([T.PAD, *T.TYPE_OF_EVENT.values()]),
    code=st.sampled_from(list(OF_MANY.vocabulary.codes.values())),
)
@settings(deadline=None)
def test_an_interval_token_lasts_as_long_as_it_says_seen_in_training_or_not(place, token, last, code):
    for pace in (FITTED, PACE):
        days = pace.interval_days(token, last, code, place)
        first, end = interval_days(token)
        assert first <= days
        assert days < end or token == S.LONG_TERM
        assert interval_token(int(days)) == token


@settings(deadline=None, max_examples=150)
@given(found=rows())
def test_the_grammar_accepts_whatever_the_encoder_gives(found):
    for made in MADE:
        whole = made.encode(table(found))
        assert violations(whole.types) == 0
        for end in range(1, whole.n):
            assert violations(whole.types[end:], Grammar.after(whole.types[:end])) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        (T.CLS, T.VE),
        (T.CLS, T.VS, T.VE),
        (T.CLS, T.VS, 12, T.REG),
        (T.CLS, T.VS, 12, T.VE, T.INTERVAL),
        (T.CLS, T.VS, 12, T.VE, T.REG, T.VS),
        (T.CLS, T.VS, 12, T.VE, T.REG, T.INTERVAL, 12),
        (T.CLS, T.VS, 12, 8),
        (T.CLS, T.VS, 12, T.STATIC),
        (T.CLS, T.VS, 12, T.CLS),
    ],
)
def test_the_grammar_notices_what_no_record_can_be(wrong):
    assert violations(np.array(wrong)) == 1


def test_a_start_may_follow_where_the_visit_has_an_open_encounter():
    assert violations(np.array((T.CLS, T.VS, 8, 12, 9, 12))) == 0


def test_the_pace_survives_saving(tmp_path):
    made = encoder()
    pace = fit_pace([e for _, e in made.encode_shard(population())], len(made.vocabulary))
    pace.save(tmp_path / "pace.json")
    assert Pace.load(tmp_path / "pace.json", len(made.vocabulary)) == pace


def test_a_token_of_two_types_takes_the_one_that_usually_follows():
    stay = [event("admission", 0 * HOUR)]
    for hour in (1, 3):
        stay.append(event("medication_administration", hour * HOUR, "RXNORM//1"))
        stay.append(event("lab", (hour + 1) * HOUR, "LOINC//1"))
        stay.append(event("medication_request", (hour + 1) * HOUR, "RXNORM//1"))
    made = encoder([table(stay)])
    pace = fit_pace([made.encode(table(stay))], len(made.vocabulary))
    code = made.vocabulary.codes["RXNORM//1"]
    given_types = {before: pace.type_of(code, T.TYPE_OF_EVENT[before]) for before in ("admission", "lab")}
    assert given_types == {
        "admission": T.TYPE_OF_EVENT["medication_administration"],
        "lab": T.TYPE_OF_EVENT["medication_request"],
    }


def test_a_history_without_events_begins_now():
    whole = PLAIN.encode(table([event("static", None)]))
    state = Continuation.after(whole, Origin(None, None, None, NOW), PLAIN.config, PACE)
    tokens = [state.push(code, 0.5) for code in (S.VS, PLAIN.vocabulary.codes["LOINC//1"])]
    assert tokens[1].time == tokens[1].gap == 0
    assert state.last.time == NOW
    assert tokens[1].visit_order == 1


def test_visible_history_of_a_late_result_counts_from_the_last_event_known():
    found = [event("lab", 50 * HOUR), event("lab", 0 * HOUR, known=60 * HOUR), event("lab", 70 * HOUR)]
    whole, timeline = sequence_of(PLAIN, found)
    end = visible(whole, whole.known[-2])
    assert timeline.origin(whole.prefix(end), NOW).last_time == timeline.times[1] < timeline.times[0]
