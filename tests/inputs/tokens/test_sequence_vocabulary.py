"""Which tokens exist, which one an event gets, and how much of a record is [UNK]."""

import numpy as np
import pytest
from hypothesis import given, settings

from chartscan.errors import ConfigError, DataError
from chartscan.inputs.tokens import (
    Coverage,
    Encoder,
    SequenceConfig,
    Vocabulary,
    check_coverage,
    coverage,
    fit_bins,
    fit_vocabulary,
    known_order,
    named,
    readings,
)
from chartscan.inputs.tokens import specials as S
from chartscan.inputs.tokens.vocabulary import TokenLookup
from token_events import HOUR, code_encoder, encoder, event, names, population, rows, table


def fit(tables, **settings):
    config = SequenceConfig(**settings)
    bins = fit_bins(tables, config)
    return fit_vocabulary(tables, bins, config, ["readmission_30d"], dataset="0a"), bins


def of_subjects(n, code, **values):
    return [event("lab", HOUR, code, subject_id=s, **values) for s in range(1, n + 1)]


FITTED = fit([population()], min_subjects=1)


def token(made, **values):
    return names(made, made.encode(table([event("lab", HOUR, **values)])))[-1]


def test_special_tokens_have_the_published_ids():
    assert S.SPECIALS[:8] == ("[PAD]", "[UNK]", "[MASK]", "[VS]", "[VE]", "[CLS]", "[REG]", "[W_0]")
    assert (S.SPECIALS[11], S.SPECIALS[23], S.SPECIALS[24]) == ("[M_0]", "[M_12]", "[LT]")
    found, _ = fit([population()], min_subjects=1)
    assert found.tokens[:25] == S.SPECIALS
    assert found.tokens[25] == "[TASK:readmission_30d]"
    assert found.task_token("readmission_30d") == 25
    assert list(found.tokens[26:]) == sorted(found.tokens[26:])


def test_the_vocabulary_does_not_depend_on_the_order_of_rows_or_shards():
    whole = population(subjects=9)
    subject = np.asarray(whole["subject_id"])
    order = np.random.default_rng(0).permutation(whole.num_rows)
    expected, _ = fit([whole], min_subjects=2)
    shards, _ = fit([whole.filter(subject % 3 == k) for k in (1, 2, 0)], min_subjects=2)
    shuffled, _ = fit([whole.take(order)], min_subjects=2)
    assert len({expected.hash, shards.hash, shuffled.hash}) == 1
    assert expected.scope.subjects == 9
    assert expected.scope.events == whole.num_rows - 9  # births are no tokens


def test_only_train_subjects_count():
    whole = population(subjects=10)
    train = np.asarray(whole["subject_id"]) <= 6
    value = whole.schema.get_field_index("numeric_value")
    other = np.where(train, whole["numeric_value"].to_numpy(), 1e6).astype(np.float32)
    changed = whole.set_column(value, whole.schema.field(value), [other])
    fitted = [fit([t.filter(train)], min_subjects=2) for t in (whole, changed)]
    assert fitted[0] == fitted[1]
    assert fit([whole], min_subjects=2)[0].hash != fit([changed], min_subjects=2)[0].hash


def test_a_code_enters_with_enough_subjects_not_enough_events():
    enough, few = of_subjects(3, "LOINC//1"), of_subjects(2, "LOINC//2") * 5
    found, _ = fit([table(enough + few)], min_subjects=3)
    assert found.tokens[26:] == ("LOINC//1",)
    assert found.subjects[26:] == (3,)


def test_a_bin_that_is_too_rare_becomes_the_bare_code():
    found = [
        event("lab", HOUR, numeric_value=float(v), subject_id=s)
        for s, v in enumerate([0, 0, 0, 0, 0, 0, 1, 2], start=1)
    ]
    vocabulary, bins = fit([table(found)], min_subjects=6)
    assert vocabulary.tokens[26:] == ("LOINC//1", "LOINC//1//Q1")
    made = Encoder(vocabulary, bins)
    assert token(made, numeric_value=0.0) == "LOINC//1//Q1"
    assert token(made, numeric_value=9.0) == "LOINC//1"
    assert token(made, numeric_value=0.0, unit="mg") == "LOINC//1"
    assert token(made, code="LOINC//77") == "[UNK]"


def test_a_result_of_a_kind_never_seen_in_training_is_unknown():
    made = encoder([table(of_subjects(5, "LOINC//1", numeric_value=1.0, unit="mg"))])
    assert token(made, numeric_value=7.0, unit="mg") == "LOINC//1//Q1"
    assert token(made, numeric_value=7.0, unit="stone") == token(made) == "[UNK]"


def test_short_text_results_become_tokens_and_others_the_bare_code():
    found = of_subjects(5, "LOINC//1", text_value=" POS ") + of_subjects(2, "LOINC//1", text_value="odd")
    vocabulary, bins = fit([table(found)], min_subjects=5, max_text_length=6)
    assert vocabulary.tokens[26:] == ("LOINC//1", "LOINC//1//=POS")
    made = Encoder(vocabulary, bins)
    assert token(made, text_value="POS") == "LOINC//1//=POS"
    assert token(made, text_value="odd") == "LOINC//1"
    assert token(made, text_value="much too long") == "LOINC//1"
    assert token(made, text_value="POS", numeric_value=3.0) == "LOINC//1"


def test_a_value_with_a_comparator_is_placed_as_its_bound():
    made = encoder()
    bound = {"code": "LOINC//1", "numeric_value": -9.0, "unit": "mg"}
    assert token(made, comparator="<", **bound) == token(made, **bound)
    assert token(made, **bound).endswith("Q1")


def test_readings_of_a_numeric_code_are_the_tokens_that_its_values_get():
    vocabulary, bins = FITTED
    found = readings(vocabulary, bins)
    assert len(found) == len(bins.groups) > 0
    lookup = TokenLookup(vocabulary, bins)
    for (code, _, unit), ids in zip(bins.groups, found, strict=True):
        values = [-1e6, *(edge + 0.001 for edge in unit.edges)]  # numbers are stored in float32
        assert ids == [lookup.id(code, value, unit.unit, None) for value in values]
    rarer, _ = fit([population()], min_subjects=10**6)
    assert not any(readings(rarer, bins))


def test_a_code_spelled_like_a_special_token_is_none():
    found = of_subjects(3, "[CLS]") + of_subjects(3, "[TASK:readmission_30d]")
    vocabulary, bins = fit([table(found)], min_subjects=1)
    assert len(vocabulary) == 26
    made = Encoder(vocabulary, bins)
    assert token(made, code="[CLS]") == token(made, code="[TASK:readmission_30d]") == "[UNK]"


@settings(deadline=None, max_examples=40)
@given(found=rows())
def test_one_event_gets_the_id_that_a_table_gives_it(found):
    lookup = TokenLookup(*FITTED)
    frame = known_order(table(found))
    one = frame.select("code", "numeric_value", "unit", "text_value").iter_rows()
    assert lookup.ids(frame).tolist() == [lookup.id(*row) for row in one]


def test_tasks_can_be_added_without_moving_an_id():
    before, _ = fit([population()], min_subjects=1)
    after = before.with_tasks(["readmission_30d", "new"])
    assert after.tokens[: len(before)] == before.tokens
    assert after.task_token("new") == len(before) == len(after) - 1
    assert "[TASK:new]" not in after.codes
    with pytest.raises(ConfigError, match="readmission_30d"):
        before.task_token("new")


def test_a_vocabulary_survives_saving_and_a_changed_file_is_refused(tmp_path):
    found, _ = fit([population()], min_subjects=1)
    path = tmp_path / "vocabulary.json"
    found.save(path)
    assert Vocabulary.load(path) == found
    assert Vocabulary.load(path).hash == found.hash
    path.write_text(path.read_text().replace('"[VE]"', '"[VX]"'))
    with pytest.raises(DataError, match="special tokens"):
        Vocabulary.load(path)
    path.write_text("{}")
    with pytest.raises(DataError, match="does not contain a vocabulary"):
        Vocabulary.load(path)


def test_settings_that_cannot_work_are_refused():
    for wrong in ({"context": 8}, {"min_subjects": 0}, {"implicit_gap_hours": -1.0}):
        with pytest.raises(ConfigError):
            SequenceConfig(**wrong)


def test_coverage_counts_unknown_events_by_code_system():
    made = code_encoder()
    known, unknown = of_subjects(6, "MEDS_DEATH"), of_subjects(2, "LOINC//9") + of_subjects(1, "LOINC//8")
    found = coverage(made, [table(known), table(unknown)])
    assert {name: (c.events, c.unknown) for name, c in found.items()} == {
        "LOINC": (3, 3),
        "MEDS_DEATH": (6, 0),
    }
    assert coverage(made, []) == {}


def test_the_gate_warns_above_5_and_refuses_above_20_percent():
    made = code_encoder()

    def gate(unknown):
        found = of_subjects(100 - unknown, "MEDS_DEATH") + of_subjects(unknown, "LOINC//9")
        return check_coverage(coverage(made, [table(found)]), "held_out")

    assert gate(0) is None
    assert gate(5) is None
    assert "6.0%" in gate(6)
    assert gate(20) is not None
    with pytest.raises(DataError, match=r"21\.0% .*LOINC 100% of 21"):
        gate(21)


def test_a_large_code_system_that_is_not_known_is_named_though_all_in_all_few_events_are():
    found = {"LOINC": Coverage(100, 40), "ICD10CM": Coverage(9900, 0)}
    assert "LOINC 40% of 100" in check_coverage(found, "records")
    assert check_coverage(found | {"LOINC": Coverage(100, 20)}, "records") is None
    assert (
        check_coverage({"ICD10CM": Coverage(10_000, 0), "TYPED BY HAND": Coverage(99, 99)}, "records") is None
    )


def test_rare_code_systems_are_not_named():
    found = {"A": Coverage(9, 9), "B": Coverage(10, 1), "C": Coverage(1, 1)}
    assert named(found) == {"B": Coverage(10, 1), "other": Coverage(10, 10)}
