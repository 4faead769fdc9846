"""How soon a visit follows another: the pace against a count of the events, apart by how visits end."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import DataError
from chartscan.inputs.tokens import Continuation, Pace, fit_pace, timelines
from chartscan.inputs.tokens import specials as S
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.pace import N_QUANTILES
from chartscan.inputs.tokens.specials import interval_token
from token_events import DAY, HOUR, birth, encoder, event, table

HOME, DIED = "HOSPITAL_DISCHARGE//HOME", "HOSPITAL_DISCHARGE//DIED"
DISCHARGE = T.TYPE_OF_EVENT["discharge"]
PLACES = [(i + 0.5) / N_QUANTILES for i in range(N_QUANTILES)]


def subject(number, ends):
    """Stays of 10 hours: each ends with a code, and the next begins (or a death comes) `days` later."""
    found, time = [birth(subject_id=number)], 0 * HOUR
    for stay, (code, days) in enumerate(ends):
        names = {"subject_id": number, "encounter_id": f"{number}-{stay}"}
        found.append(event("admission", time, **names))
        found.append(event("discharge", time + 10 * HOUR, code, **names))
        time += 10 * HOUR + days * DAY
        if code == DIED:
            found.append(event("death", time, subject_id=number))
    return found if ends[-1][0] == DIED else [*found, event("admission", time, subject_id=number)]


def hospital(subjects):
    """Encoder, tokens by subject and pace of subjects, each as the ends of its stays."""
    rows = [row for i, ends in enumerate(subjects) for row in subject(i + 1, ends)]
    made = encoder([table(rows)])
    tokens = dict(made.encode_shard(table(rows)))
    return made, rows, tokens, fit_pace(list(tokens.values()), len(made.vocabulary))


def gaps(subjects, code, token):
    """Days from ends of stays with `code` to what came next, within one interval token, ascending."""
    found = [days for ends in subjects for of, days in ends if of == code]
    return sorted(days for days in found if interval_token(int(days)) == token)


def waits(made, pace, code, token):
    """Days that the pace waits after a discharge with `code`, at the places of its quantiles."""
    return [pace.interval_days(token, DISCHARGE, made.vocabulary.codes[code], p) for p in PLACES]


def drawn_hospital(subjects=120, seed=0):
    """Stays that end at home, the next days later; the last of every third subject with a death, at once."""
    random = np.random.default_rng(seed)
    found = [[(HOME, random.uniform(0.1, 40)) for _ in range(random.integers(1, 5))] for _ in range(subjects)]
    return [[*ends, (DIED, 0.0)] if i % 3 == 0 else ends for i, ends in enumerate(found)]


def test_waits_are_the_gaps_counted_by_hand_for_each_kind_of_end():
    subjects = drawn_hospital()
    made, _, _, pace = hospital(subjects)
    for token in (S.FIRST_WEEK, S.FIRST_WEEK + 2):
        counted = gaps(subjects, HOME, token)
        assert len(counted) >= N_QUANTILES
        expected = [counted[int(place * len(counted))] for place in PLACES]
        np.testing.assert_allclose(waits(made, pace, HOME, token), expected, atol=1e-3)  # float32 weeks
    assert waits(made, pace, DIED, S.FIRST_WEEK) == [0.0] * N_QUANTILES
    assert pace.last_ends == (made.vocabulary.codes[DIED],)


def test_a_pace_that_mixes_all_ends_is_noticed_by_the_count():
    made, _, _, pace = hospital(drawn_hospital())
    mixed = sorted(waits(made, pace, HOME, S.FIRST_WEEK) + waits(made, pace, DIED, S.FIRST_WEEK))
    earlier = msgspec.structs.replace(pace, intervals={S.FIRST_WEEK: tuple(mixed)}, waits=None)
    assert min(waits(made, earlier, HOME, S.FIRST_WEEK)) == 0


ENDS = st.tuples(
    st.sampled_from([HOME, DIED, "HOSPITAL_DISCHARGE//SNF"]), st.sampled_from([0, 0.2, 3, 9, 29])
)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(ENDS, min_size=1, max_size=4), min_size=1, max_size=12))
def test_a_visit_begins_at_the_instant_of_an_end_only_where_one_of_train_did(subjects):
    subjects = [[*((c, d) for c, d in ends[:-1] if c != DIED), ends[-1]] for ends in subjects]
    subjects = [[(c, d or (0 if c == DIED else 0.1)) for c, d in ends] for ends in subjects]
    made, _, _, pace = hospital(subjects)
    for code in {code for ends in subjects for code, _ in ends}:
        for token in (S.FIRST_WEEK, S.FIRST_WEEK + 1):
            counted = gaps(subjects, code, token)
            waited = waits(made, pace, code, token)
            assert waited == sorted(waited)
            assert (min(waited) == 0) == (0 in counted)
            if counted:
                assert (max(waited) == 0) == (set(counted) == {0})


def test_few_gaps_are_as_often_none_as_they_were_and_else_as_long_as_after_any_visit():
    subjects = [[(HOME, 0.1 * i)] for i in range(1, 41)] + [[(DIED, 0.0)], [(DIED, 0.0)], [(DIED, 5.0)]]
    made, _, _, pace = hospital(subjects)
    waited = np.array(waits(made, pace, DIED, S.FIRST_WEEK))
    assert (waited == 0).sum() == 22  # two thirds of 33
    assert waited[-1] == pytest.approx(np.quantile([*np.arange(0.1, 4.05, 0.1), 5.0], 10.5 / 11), abs=0.2)


def test_imagined_visits_follow_their_discharge_and_deaths_in_hospital_do_not_wait():
    made, rows, tokens, pace = hospital(drawn_hospital())
    for number, lived in ((2, True), (1, False)):
        whole, line = tokens[number], timelines(table(rows), made.config)[number]
        end = int(np.flatnonzero(whole.types == DISCHARGE)[-1]) + 3  # [VE] [REG]
        history = whole.prefix(end)
        for place in (0.0, 0.5, 0.99):
            state = Continuation.after(history, line.origin(history, 0), made.config, pace)
            left = state.time
            state.push(S.FIRST_WEEK, place)
            assert (state.time > left) is lived


def test_a_pace_of_an_earlier_version_is_read_and_knows_no_kinds_of_ends(tmp_path):
    made, _, _, pace = hospital(drawn_hospital())
    earlier = {k: v for k, v in msgspec.to_builtins(pace).items() if k != "waits"}
    (tmp_path / "pace.json").write_bytes(msgspec.json.encode(earlier))
    found = Pace.load(tmp_path / "pace.json", len(made.vocabulary))
    assert found.waits is None
    assert waits(made, found, DIED, S.FIRST_WEEK) == waits(made, found, HOME, S.FIRST_WEEK)
    (tmp_path / "pace.json").write_bytes(b'{"types": []}')
    with pytest.raises(DataError, match="does not contain the pace"):
        Pace.load(tmp_path / "pace.json", len(made.vocabulary))


def test_records_of_one_visit_leave_nothing_to_wait_for():
    made, _, tokens, _ = hospital([[(HOME, 3)]])
    alone = fit_pace([tokens[1].prefix(4)], len(made.vocabulary))
    assert alone.waits == ()
    assert min(waits(made, alone, HOME, S.FIRST_WEEK)) > 0
