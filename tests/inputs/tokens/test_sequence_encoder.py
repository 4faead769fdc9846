"""Tokens of a history: the paper's figure, visits, and that nothing is seen before it is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import DataError
from chartscan.inputs.tokens import Encoder, encoded_from, events_in_known_order, visible
from chartscan.inputs.tokens import types as T
from chartscan.inputs.tokens.specials import interval_token
from token_events import (
    DAY,
    HOUR,
    START,
    birth,
    code_encoder,
    encoder,
    event,
    names,
    population,
    rows,
    same,
    table,
)

PLAIN = code_encoder()
BINNED = encoder()
FIGURE_TYPES = encoder(visit_tokens_attributed=True, static_tokens=False)
INSTANTS = st.sampled_from([-1, 0, 1, 2, 3, 21, 30, 60, 130, 930, 9001, 20000])


def at(hours):
    return np.datetime64(START + hours * HOUR, "us")


def cut_at(found, hours):
    """The rows known `hours` after START; static facts always."""
    limit = START + hours * HOUR
    return [r for r in found if r["time"] is None or r["available_time"] <= limit]


def story(*found, **settings):
    """The tokens of rows, without [CLS]."""
    made = code_encoder(**settings) if settings else PLAIN
    return " ".join(n.split("//")[0] for n in names(made, made.encode(table(list(found))))[1:])


# --- the paper's figure ---


def figure_1():
    """Two visits, 16 days apart, with the subject's 47th birthday between them."""
    first, second = {"encounter_id": "1"}, {"encounter_id": "2"}
    return table(
        [
            birth(-46 * 365.25 * DAY - 360 * DAY),
            event("admission", 0 * HOUR, **first),
            event("procedure", 1 * HOUR, "P1", **first),
            event("medication_administration", 2 * HOUR, "M1", **first),
            event("medication_administration", 3 * HOUR, "M2", **first),
            event("discharge", 4 * HOUR, **first),
            event("admission", 16 * DAY, **second),
            event("lab", 16 * DAY + 1 * HOUR, "L1", **second),
            event("lab", 16 * DAY + 2 * HOUR, "L2", **second),
            event("lab", 16 * DAY + 3 * HOUR, "L3", **second),
            event("procedure", 16 * DAY + 4 * HOUR, "P2", **second),
            event("discharge", 16 * DAY + 5 * HOUR, **second),
        ]
    )


def test_figure_1_of_the_paper_is_reproduced_token_for_token():
    made = encoder([figure_1()], visit_tokens_attributed=True)
    found = made.encode(figure_1())
    shown = ~np.isin(found.types, [T.TYPE_OF_EVENT["admission"], T.TYPE_OF_EVENT["discharge"]])
    written = np.array(names(made, found))[shown].tolist()
    assert " ".join(written) == "[CLS] [VS] P1 M1 M2 [VE] [REG] [W_2] [VS] L1 L2 L3 P2 [VE] [REG]"
    visit = [0, 1, 1, 1, 1, 1, 1, 0, 2, 2, 2, 2, 2, 2, 2]
    assert found.visit_orders[shown].tolist() == found.segments[shown].tolist() == visit
    assert np.floor(found.ages[shown]).tolist() == [{0: 0, 1: 46, 2: 47}[v] for v in visit]
    assert np.floor(found.times[shown]).tolist() == [{0: 0, 1: 53 - 53, 2: 55 - 53}[v] for v in visit]


def test_special_tokens_have_no_attributes_as_the_papers_text_says():
    found = encoder([figure_1()]).encode(figure_1())
    special = np.isin(found.types, [T.CLS, T.VS, T.VE, T.REG, T.INTERVAL])
    assert special.sum() == 8
    np.testing.assert_array_equal(found.attributed, ~special)
    for values in (found.ages, found.times, found.gaps, found.segments, found.visit_orders):
        assert not values[special].any()
    assert (found.ages[~special] > 46).all()


def test_gaps_are_weeks_between_attributed_tokens():
    found = encoder([figure_1()]).encode(figure_1())
    hours = found.gaps[found.attributed] * 168
    np.testing.assert_allclose(hours, [0, 1, 1, 1, 1, 16 * 24 - 4, 1, 1, 1, 1, 1], rtol=1e-5)


# --- nothing is seen before it is known ---


@pytest.mark.parametrize("made", [BINNED, FIGURE_TYPES])
@settings(deadline=None, max_examples=60)
@given(found=rows(), hours=INSTANTS)
def test_cutting_the_future_leaves_exactly_the_visible_prefix(made, found, hours):
    whole = made.encode(table(found))
    assert (whole.known[1:] >= whole.known[:-1]).all()
    seen = cut_at(found, hours)
    if seen:
        same(whole.prefix(visible(whole, at(hours))), made.encode(table(seen)))


def test_an_outcome_is_never_a_token_wherever_it_stands():
    rows = [event("admission", 0 * HOUR, encounter_id="a"), event("lab", 3 * HOUR)]
    code = "HOSPITAL_OUTCOME//EXPIRED"
    for time in (None, 0 * HOUR, 1 * HOUR, 1000 * DAY):
        outcome = event("outcome", time, code=code, encounter_id="a")
        same(PLAIN.encode(table([*rows, outcome])), PLAIN.encode(table(rows)))
        stream = PLAIN.start()
        events = events_in_known_order(table([*rows, outcome]))
        same(encoded_from([t for e in events for t in stream.push(e)]), PLAIN.encode(table(rows)))
        made = encoder([table([*rows, outcome])])
        assert not any(token.startswith("HOSPITAL_OUTCOME") for token in made.vocabulary.tokens)


def test_a_death_without_a_time_is_never_a_token():
    lab, death = event("lab", 0 * HOUR), event("death", None)
    same(PLAIN.encode(table([death, lab])), PLAIN.encode(table([lab])))
    assert names(PLAIN, PLAIN.encode(table([death]))) == ["[CLS]"]
    stream = PLAIN.start()
    pushed = [token for row in events_in_known_order(table([death, lab])) for token in stream.push(row)]
    same(encoded_from(pushed), PLAIN.encode(table([lab])))
    made = encoder([table([death, lab])])
    assert not any(token.startswith("MEDS_DEATH") for token in made.vocabulary.tokens)


def test_an_order_by_time_of_happening_would_show_what_is_not_known():
    late = event("lab", 1 * HOUR, known=50 * HOUR)
    found = [event("lab", 0 * HOUR), late, event("lab", 2 * HOUR)]
    leaky = [r | {"available_time": r["time"]} for r in found]
    honest = PLAIN.encode(table(found))
    shown = PLAIN.encode(table(leaky))
    assert visible(honest, at(2)) == 4 < visible(shown, at(2)) == 5


@settings(deadline=None, max_examples=60)
@given(found=rows(), order=st.randoms(use_true_random=False))
def test_the_order_of_rows_in_the_table_has_no_meaning(found, order):
    shuffled = list(found)
    order.shuffle(shuffled)
    same(BINNED.encode(table(found)), BINNED.encode(table(shuffled)))


@settings(deadline=None, max_examples=60)
@given(found=rows(), late=rows(), hours=INSTANTS)
def test_late_events_change_nothing_that_was_visible(found, late, hours):
    limit = START + hours * HOUR
    late = [r for r in late if r["time"] is not None and r["available_time"] > limit]
    before, after = BINNED.encode(table(found)), BINNED.encode(table(found + late))
    n = visible(before, at(hours))
    assert visible(after, at(hours)) == n
    same(before.prefix(n), after.prefix(n))


@pytest.mark.parametrize("made", [BINNED, FIGURE_TYPES])
@settings(deadline=None, max_examples=80)
@given(found=rows(max_size=40))
def test_pushing_events_one_by_one_equals_encoding_them(made, found):
    stream = made.start()
    tokens = [token for e in events_in_known_order(table(found)) for token in stream.push(e)]
    same(encoded_from(tokens), made.encode(table(found)))


def test_pushing_equals_encoding_over_whole_histories():
    whole = population(subjects=3, events=200, seed=5)
    for subject, found in BINNED.encode_shard(whole):
        one = whole.filter(np.asarray(whole["subject_id"]) == subject)
        stream = BINNED.start()
        same(encoded_from([t for e in events_in_known_order(one) for t in stream.push(e)]), found)


def test_an_event_known_before_the_last_one_cannot_be_pushed():
    late, early = events_in_known_order(table([event("lab", 5 * HOUR), event("lab", 6 * HOUR)]))[::-1]
    stream = PLAIN.start()
    stream.push(late)
    with pytest.raises(DataError, match="known order"):
        stream.push(early)


def test_a_shard_gives_each_subject_the_tokens_it_has_alone():
    whole = population(subjects=7)
    found = dict(BINNED.encode_shard(whole))
    assert sorted(found) == list(range(1, 8))
    for subject, encoded in found.items():
        same(encoded, BINNED.encode(whole.filter(np.asarray(whole["subject_id"]) == subject)))


def test_encode_refuses_the_events_of_two_subjects():
    with pytest.raises(ValueError, match="one subject"):
        BINNED.encode(population(subjects=2))


def test_an_empty_shard_has_no_subjects():
    assert BINNED.encode_shard(table([])) == []


def test_a_subject_with_only_a_birth_and_sex_has_no_visit():
    found = PLAIN.encode(table([birth(), event("static", None)]))
    assert names(PLAIN, found) == ["[CLS]", "GENDER//F"]
    assert visible(found, np.datetime64("1800-01-01")) == 2


# --- visits ---


def test_static_facts_follow_cls_or_are_left_out():
    found = [event("static", None, "RACE//A"), event("static", None), event("lab", HOUR)]
    assert story(*found) == "GENDER RACE [VS] LOINC"
    assert story(*found, static_tokens=False) == "[VS] LOINC"


def test_at_discharge_the_end_of_the_visit_is_visible():
    stay = [event("admission", 0 * HOUR), event("diagnosis", 9 * HOUR), event("discharge", 9 * HOUR)]
    found = PLAIN.encode(table([*stay, event("lab", 100 * DAY)]))
    seen = names(PLAIN, found.prefix(visible(found, at(9))))
    assert seen[-4:] == ["ICD10CM//I10", "HOSPITAL_DISCHARGE//HOME", "[VE]", "[REG]"]
    assert visible(found, at(9) - np.timedelta64(1, "us")) == 3


def test_overlapping_and_nested_encounters_are_one_visit():
    assert (
        story(
            event("visit_start", 0 * HOUR, encounter_id="ed"),
            event("admission", 3 * HOUR, encounter_id="stay"),
            event("visit_end", 4 * HOUR, encounter_id="ed"),
            event("visit_start", 5 * HOUR, encounter_id="icu"),
            event("visit_end", 7 * HOUR, encounter_id="icu"),
            event("lab", 8 * HOUR),
            event("discharge", 9 * HOUR, encounter_id="stay"),
        )
        == "[VS] ED_REGISTRATION HOSPITAL_ADMISSION ED_OUT ED_REGISTRATION ED_OUT LOINC "
        "HOSPITAL_DISCHARGE [VE] [REG]"
    )


def test_parts_of_a_stay_under_one_encounter_id_do_not_end_it():
    within = {"encounter_id": "stay"}
    assert story(
        event("admission", 0 * HOUR, **within),
        event("visit_start", 1 * HOUR, **within),
        event("visit_end", 2 * HOUR, **within),
        event("lab", 3 * HOUR),
        event("discharge", 4 * HOUR, **within),
    ).endswith("ED_OUT LOINC HOSPITAL_DISCHARGE [VE] [REG]")


def test_a_visit_without_end_stays_open():
    assert story(event("admission", 0 * HOUR), event("lab", 2 * HOUR)) == "[VS] HOSPITAL_ADMISSION LOINC"


def test_an_encounter_that_never_ends_is_given_up_after_long_silence():
    start = [event("admission", 0 * HOUR), event("lab", 30 * DAY)]
    assert story(*start) == "[VS] HOSPITAL_ADMISSION LOINC"
    later = event("lab", 60 * DAY + HOUR)
    assert story(*start, later) == "[VS] HOSPITAL_ADMISSION LOINC [VE] [REG] [M_1] [VS] LOINC"


def test_an_end_without_a_start_is_an_event_like_others():
    assert story(event("discharge", 0 * HOUR), event("lab", HOUR)) == "[VS] HOSPITAL_DISCHARGE LOINC"


def test_events_outside_encounters_form_visits_that_end_after_a_day_without_news():
    labs = [event("lab", 0 * HOUR), event("lab", 24 * HOUR)]
    assert story(*labs) == "[VS] LOINC LOINC"
    assert story(*labs, event("lab", 49 * HOUR)) == "[VS] LOINC LOINC [VE] [REG] [W_0] [VS] LOINC"


def test_a_visit_without_encounter_ends_when_an_encounter_starts():
    found = story(event("lab", 0 * HOUR), event("admission", HOUR))
    assert found == "[VS] LOINC [VE] [REG] [W_0] [VS] HOSPITAL_ADMISSION"


def test_a_result_known_after_discharge_comes_after_the_visit():
    stay = [event("admission", 0 * HOUR), event("discharge", 9 * HOUR)]
    found = story(*stay, event("lab", 5 * HOUR, known=30 * DAY))
    assert found == "[VS] HOSPITAL_ADMISSION HOSPITAL_DISCHARGE [VE] [REG] [M_0] [VS] LOINC"


@pytest.mark.parametrize(
    ("days", "token"),
    [
        (0, "[W_0]"),
        (6, "[W_0]"),
        (7, "[W_1]"),
        (20, "[W_2]"),
        (27, "[W_3]"),
        (28, "[M_0]"),
        (29, "[M_0]"),
        (30, "[M_1]"),
        (59, "[M_1]"),
        (60, "[M_2]"),
        (365, "[M_12]"),
        (366, "[LT]"),
        (9999, "[LT]"),
    ],
)
def test_interval_tokens_at_their_boundaries(days, token):
    assert PLAIN.vocabulary.tokens[interval_token(days)] == token
    stay = [event("admission", 0 * HOUR, encounter_id="a"), event("discharge", HOUR, encounter_id="a")]
    for over in (0 * HOUR, 23 * HOUR):
        later = event("admission", HOUR + days * DAY + over, encounter_id="b")
        expected = f"[REG] {token} [VS] HOSPITAL_ADMISSION"
        if days or over:
            assert story(*stay, later).endswith(expected)


def test_a_start_registered_late_counts_as_no_interval():
    stay = [event("admission", 10 * DAY, encounter_id="a"), event("discharge", 12 * DAY, encounter_id="a")]
    assert "[REG] [W_0] [VS]" in story(*stay, event("admission", DAY, known=40 * DAY, encounter_id="b"))


def test_visits_beyond_the_table_share_the_last_number():
    labs = [event("lab", 2 * k * DAY) for k in range(600)]
    found = PLAIN.encode(table(labs))
    orders = found.visit_orders[found.attributed]
    assert orders[:3].tolist() == [1, 2, 3]
    assert orders.max() == T.MAX_VISIT_ORDER == orders[-1]
    assert found.segments[found.attributed].tolist() == [1, 2] * 300


def test_age_is_zero_until_the_birth_is_known():
    found = PLAIN.encode(table([event("lab", 0 * HOUR), birth(known=HOUR), event("lab", 2 * HOUR)]))
    np.testing.assert_allclose(found.ages[found.attributed], [0, 40 * 365 / 365.25], rtol=1e-4)


def test_an_unknown_event_type_is_refused():
    with pytest.raises(DataError, match="event_type"):
        PLAIN.encode(table([event("lab", HOUR) | {"event_type": "telepathy"}]))


def test_an_encoder_reads_its_settings_from_the_vocabulary():
    assert isinstance(BINNED, Encoder)
    assert BINNED.config == BINNED.vocabulary.config
