"""The one renderer of studies and benches."""

from chartscan_lab.tables import TIMED, count_text, markdown_table, reach_text, text_table, timed_cells


def test_columns_are_as_wide_as_their_longest_cell_and_a_sentence_runs_over_them():
    lines = text_table(
        ("", "ms", "x"), [("ours", "1,024.0", "1.00"), ("theirs", "not installed here"), ("it", "1")]
    )
    assert lines == [
        "             ms     x",
        "ours    1,024.0  1.00",
        "theirs  not installed here",
        "it      1",
    ]


def test_a_table_of_two_columns_has_no_sentences():
    assert text_table(("a", "b"), [("x", "10"), ("y", "1")]) == ["a   b", "x  10", "y   1"]


def test_markdown_has_numbers_to_the_right():
    assert markdown_table(("a", "b"), [("x", "1")]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_an_implementation_that_is_another_model_has_no_error_and_without_a_baseline_no_ratio():
    row = {"seconds": 0.01, "range": [0.009, 0.012], "ratio": 1.5, "ratio_range": [1.4, 1.6], "error": None}
    assert timed_cells(row, 1) == ["10.0", "9.0 - 12.0", "1.50", "1.40 - 1.60", "other"]
    assert timed_cells(row | {"ratio": None, "error": 2e-7}, 1)[2:] == ["", "", "2.0e-07"]
    assert len(timed_cells(row, 1)) == len(TIMED)


def test_what_was_not_measured_is_marked():
    one = {"largest": 1024, "least": 980, "most": 1100, "extrapolated": True}
    assert reach_text(one) == "1,024* (980 to 1,100)"
    assert reach_text(one | {"least": None, "extrapolated": False}) == "1,024"
    assert count_text(None) == "-"
