"""The account of words: every record is in it once, and free text of few records is not named."""

import json

from hypothesis import given
from hypothesis import strategies as st

from chartscan.store.accounting import NAMED_FROM, Accounting, recognition_lines, unknown_words

COUNTS = ("recognised", "mapped", "unknown", "not_said")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["class", "sex"]),
            st.text(max_size=60),
            st.sampled_from(["recognised", "mapped", "unknown", "not said"]),
            st.integers(1, 20),
            st.booleans(),
        )
    )
)
def test_every_record_is_counted_once_and_rare_free_text_is_never_named(calls):
    accounting, texts = Accounting(), {}
    for thing, word, how, n, text in calls:
        accounting.recognition.recognise(thing, word, None, how, n, text=text)
        if text:
            texts[thing, word, how] = texts.get((thing, word, how), 0) + n
    found = accounting.recognition.as_dict()
    total = sum(n for *_, n, _ in calls)
    assert sum(thing[key] for thing in found.values() for key in COUNTS) == total
    assert sum(w["records"] for thing in found.values() for w in thing["words"]) == total
    for (thing, word, how), n in texts.items():
        coded = any(c[:3] == (thing, word, how) and not c[4] for c in calls) and len(word) <= 40
        named = any(w["word"] == word and w["how"] == how for w in found[thing]["words"])
        assert named == (n >= NAMED_FROM) or coded or word == "a text"
    json.dumps(found)


def test_long_codes_count_as_free_text():
    accounting = Accounting()
    accounting.recognition.recognise("class", "the patient lives with her sister in a house", None, "unknown")
    (word,) = accounting.recognition.as_dict()["class"]["words"]
    assert word["word"] == "a text"


def test_counts_of_workers_add_up():
    one, two = Accounting(), Accounting()
    for worker in (one, two):
        worker.recognition.recognise("class", "IMP", "stay", "recognised", 2)
    one.merge(two)
    assert one.recognition.as_dict()["class"]["meanings"] == {"stay": 4}


def test_ten_thousand_words_are_added_up_in_the_manifest_and_none_is_lost():
    accounting = Accounting()
    for number in range(10_000):
        accounting.recognition.recognise("class", f"c{number}", None, "unknown", number + 1)
    accounting.recognition.recognise("class", "IMP", "stay", "recognised", 7)
    found = accounting.recognition.as_dict()["class"]
    assert len(found["words"]) < 600
    assert sum(w["records"] for w in found["words"]) == sum(range(10_001)) + 7
    assert found["meanings"] == {"stay": 7}


def test_unknown_words_are_told_most_frequent_first_and_in_short():
    accounting = Accounting()
    for number in range(8):
        accounting.recognition.recognise(
            "disposition", str(number), None, "unknown", number + 1, system="http://x"
        )
    found = accounting.recognition.as_dict()
    words = unknown_words(found["disposition"])
    assert words.startswith("'7' of http://x (8), '6' of http://x (7)")
    assert words.endswith("3 more (6)")
    lines = recognition_lines(found)
    assert lines[1].split() == ["disposition", "0", "0", "36", "0"]
    assert "--suggest-site" in lines[-1]
    assert recognition_lines({}) == []
