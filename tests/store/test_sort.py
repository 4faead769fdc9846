import datetime as dt
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.errors import DataError
from chartscan.schema import EVENT_RANK, EVENT_TYPES, EVENTS, SORT_KEYS
from chartscan.store.sort import range_bounds, sorted_events
from chartscan.store.spool import Spool, Tally, spooled

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
FEW = st.sampled_from(["", "a", "A", "aa", "é", "z", "\U0001f600", "\uffff", "a\x00b", "10", "9"])
MAYBE = st.none() | FEW | TEXT
TIMES = st.none() | st.sampled_from(
    [dt.datetime(1, 1, 1), dt.datetime(2020, 2, 29, 12), dt.datetime(9999, 12, 31)]
)
VALUES = (
    st.none()
    | st.sampled_from([0.0, -0.0, 1e-45, -3.5, 3.4e38])
    | st.floats(width=32, allow_nan=False, allow_infinity=False)
)
ROW = st.fixed_dictionaries(
    {
        "subject_id": st.sampled_from([0, 1, 2**63 - 1, 7]),
        "time": TIMES,
        "code": FEW.filter(bool),
        "numeric_value": VALUES,
        "text_value": MAYBE,
        "unit": MAYBE,
        "comparator": st.none() | st.sampled_from(["<", ">="]),
        "event_type": st.sampled_from(EVENT_TYPES),
        "encounter_id": MAYBE,
    }
)


def events(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist([{"available_time": row["time"]} | row for row in rows], schema=EVENTS)


def spool_in_order(folder: Path, at_once: int) -> Iterator[pa.Table]:
    files = sorted(folder.glob("*.parquet"))
    scratch = folder / "scratch"
    scratch.mkdir()
    with Tally(files, scratch, 64, 2) as tally:
        sizes = tally.sizes()
    return sorted_events(files, sizes, scratch, at_once)


def in_order(row: dict) -> tuple:
    ranked = row | {"event_rank": EVENT_RANK[row["event_type"]]}
    return tuple((ranked[key] is not None, ranked[key]) for key in SORT_KEYS)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=40), at_once=st.sampled_from([1, 500, 10**6]))
def test_the_external_sort_equals_a_plain_sort(rows, at_once):
    table = events(rows)
    with tempfile.TemporaryDirectory() as folder:
        for i, part in enumerate((table.slice(0, 20), table.slice(20))):
            with Spool(Path(folder), f"{i}") as spool:
                spool.write(part)
        found = pa.concat_tables(spool_in_order(Path(folder), at_once))
    assert found.schema == EVENTS
    assert found.to_pylist() == sorted(table.to_pylist(), key=in_order)


def test_ranges_of_subjects_have_the_size_wanted_and_are_cut_between_subjects():
    sizes = pa.table({"subject_id": [1, 2, 3, 4, 5], "size": [3, 3, 10, 1, 5]})
    assert range_bounds(sizes, 6).tolist() == [3, 4]
    assert range_bounds(sizes, 1).tolist() == [2, 3, 4, 5]
    assert range_bounds(sizes, 22).tolist() == []


def test_counts_of_codes_equal_a_loop_over_rows(tmp_path):
    rows = [(1, "a"), (1, "a"), (2, "a"), (2, "b"), (3, "é"), (3, "é")]
    table = events([{"subject_id": s, "time": None, "code": c, "event_type": "lab"} for s, c in rows])
    with Spool(tmp_path) as spool:
        spool.write(table)
    with Tally([tmp_path / "main.parquet"], tmp_path / "scratch", 64, 1) as tally:
        assert tally.codes().to_pylist() == [
            {
                "code": c,
                "event_count": rows.count((1, c)) + rows.count((2, c)) + rows.count((3, c)),
                "subject_count": n,
            }
            for c, n in (("a", 2), ("b", 1), ("é", 1))
        ]


def test_a_folder_name_with_quotes_and_pattern_signs_is_read_literally(tmp_path):
    folder = tmp_path / "it's [a] *new* folder?"
    folder.mkdir()
    with Spool(folder) as spool:
        spool.write(events([{"subject_id": 1, "time": None, "code": "a", "event_type": "lab"}]))
    assert sum(t.num_rows for t in spool_in_order(folder, 10**6)) == 1


GOOD = {"subject_id": 1, "time": dt.datetime(2020, 1, 1), "code": "a", "event_type": "lab"}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"numeric_value": math.inf}, "1 rows with a numeric_value that is not finite"),
        ({"numeric_value": math.nan}, "not finite"),
        ({"event_type": "labs"}, "event_type"),
        ({"code": ""}, "empty code"),
        ({"available_time": dt.datetime(2019, 12, 31)}, "available_time before time"),
        ({"available_time": None}, "only one of time"),
        ({"time": None, "available_time": GOOD["time"]}, "only one of time"),
    ],
)
def test_an_event_that_breaks_the_contract_is_refused_without_its_content(broken, message):
    spooled(events([GOOD]))
    with pytest.raises(DataError, match=message) as raised:
        spooled(events([GOOD, GOOD | broken]))
    assert "labs" not in str(raised.value)


def test_a_double_too_large_for_float32_is_refused_not_turned_into_infinity():
    with pytest.raises(DataError, match="not finite"):
        spooled(events([GOOD]).set_column(3, "numeric_value", pa.array([1e39])))


def test_columns_that_are_missing_or_unknown_are_named():
    with pytest.raises(DataError, match="note"):
        spooled(events([GOOD]).append_column("note", pa.array(["x"])))
    with pytest.raises(DataError, match="code"):
        spooled(events([GOOD]).drop_columns("code"))


def test_many_small_tables_spool_to_the_rows_given(tmp_path):
    with Spool(tmp_path, buffer_bytes=1000) as spool:
        for _ in range(33):
            spool.write(events([GOOD]))
    assert spool.rows == pq.read_metadata(tmp_path / "main.parquet").num_rows == 33
