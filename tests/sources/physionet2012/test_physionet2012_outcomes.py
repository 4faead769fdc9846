"""Outcomes: only RecordID and In-hospital_death are read, odd rows are counted, no prediction sees any."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from challenge_sets import OUTCOME_COLUMNS, folder, ingest, outcomes, record

from chartscan.cohort import COLUMNS, label_dataset, record_from_events
from chartscan.errors import DataError
from chartscan.find import find, names

RECORDS = {f"set-a/{i}.txt": record(i, "01:00,HR,60") for i in (1, 2, 3)}
TIME_ZERO = datetime(2012, 1, 1)


def read(tmp_path, content, more=None, name="Outcomes-a.txt"):
    files = RECORDS | {name: content} | (more or {})
    return ingest(folder(tmp_path / "sets", files), tmp_path / "out")


def told(result):
    return {e["subject_id"]: e["code"].rpartition("//")[2] for e in result.of("outcome")}


def test_an_outcome_stands_a_thousand_days_after_time_zero_and_belongs_to_the_stay(tmp_path):
    result = read(tmp_path, outcomes((1, "0"), (2, "1")))
    assert told(result) == {1: "ALIVE", 2: "EXPIRED"}
    for event in result.of("outcome"):
        assert event["time"] == event["available_time"] == TIME_ZERO + timedelta(days=1000)
        assert event["encounter_id"] == str(event["subject_id"])
    assert result.flagged == {"record_without_outcome": 1}


@pytest.mark.parametrize("seed", range(3))
def test_the_other_columns_change_no_byte_of_the_dataset(tmp_path, seed):
    def files(result):
        root = result.dataset.path
        found = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        del found["manifest.json"]  # tells the time of the run
        accounting = result.dataset.manifest["accounting"]
        del accounting["files"]  # tells how large they are
        return found, result.dataset.fingerprint, accounting

    rng = np.random.default_rng(seed)
    deaths = {1: "0", 2: "1", 3: "0"}
    before = files(read(tmp_path / "before", outcomes(*deaths.items())))
    columns = OUTCOME_COLUMNS.split(",")
    order = rng.permutation(len(columns))
    lines = [",".join(columns[k] for k in order)]
    for record_id, death in deaths.items():
        row = [str(record_id), *(str(n) for n in rng.integers(-1, 99, 4)), death]
        lines.append(",".join(row[k] for k in order))
    assert files(read(tmp_path / "after", "\n".join(lines).encode())) == before
    two = "\n".join(["In-hospital_death,RecordID", *(f"{d},{i}" for i, d in deaths.items())]).encode()
    assert files(read(tmp_path / "two", two)) == before


def test_a_planted_use_of_another_column_would_be_seen(tmp_path):
    """The test above can fail: what it compares does change with the outcome."""
    before = read(tmp_path / "before", outcomes((1, "0"))).dataset.fingerprint
    assert read(tmp_path / "after", outcomes((1, "1"))).dataset.fingerprint != before


ODD_ROWS = [
    ("filtered", "no such record in the set", ["99,6,1,5,-1,0"]),
    ("filtered", "outcome not known", ["3,6,1,5,-1,", "3,6,1,5,-1,-1"]),
    ("filtered", "blank", ["", "  "]),
    ("quarantined", "B57 outcome_neither_0_nor_1", ["3,6,1,5,-1,2", "3,6,1,5,-1,yes", "3,6,1,5,-1,0.0"]),
    ("quarantined", "B20 not_the_fields_of_the_header", ["3,6,1", "3,6,1,5,2,0,1"]),
    ("quarantined", "B23 missing_record_id", [",6,1,5,-1,0", "x,6,1,5,-1,0", "-3,6,1,5,-1,1"]),
    ("quarantined", "B25 two_outcomes_of_one_record", ["3,6,1,5,-1,0", "3,6,1,5,-1,1"]),
    ("quarantined", "B07 bad_encoding", ["3,\udce9,1,5,-1,0"]),
]


@pytest.mark.parametrize(("outcome", "reason", "rows"), ODD_ROWS, ids=[r for _, r, _ in ODD_ROWS])
def test_an_odd_row_is_counted_with_its_reason_and_tells_nothing(tmp_path, outcome, reason, rows):
    content = outcomes((1, "0"), (2, "1")) + "\n".join([*rows, ""]).encode(errors="surrogateescape")
    result = read(tmp_path, content)
    assert told(result) == {1: "ALIVE", 2: "EXPIRED"}
    assert result.total(outcome, "outcome") == {reason: len(rows)}
    assert result.flagged == {"record_without_outcome": 1}
    if outcome == "quarantined":
        lines = content.split(b"\n")
        assert [q["line"] for q in result.quarantine()] == list(range(4, 4 + len(rows)))
        for q in result.quarantine():
            assert content[q["byte_offset"] :].split(b"\n")[0] == lines[q["line"] - 1]


def test_a_row_said_twice_counts_once(tmp_path):
    result = read(tmp_path, outcomes((1, "1"), (1, "1")))
    assert told(result) == {1: "EXPIRED"}
    assert result.sum("merged_duplicates", "outcome") == 1


def test_windows_line_ends_a_mark_and_another_spelling_of_the_name_do_no_harm(tmp_path):
    content = b"\xef\xbb\xbf" + outcomes((1, "0"), (2, "1")).replace(b"\n", b"\r\n")
    assert told(read(tmp_path, content, name="outcomes-A.TXT")) == {1: "ALIVE", 2: "EXPIRED"}


def test_outcomes_belong_to_the_set_they_name(tmp_path):
    more = {"set-b/4.txt": record(4), "Outcomes-b.txt": outcomes((1, "1"), (4, "1"))}
    result = read(tmp_path, outcomes((1, "0"), (4, "0")), more)
    assert told(result) == {1: "ALIVE", 4: "EXPIRED"}
    assert result.total("filtered", "outcome") == {"no such record in the set": 2}


@pytest.mark.parametrize("content", [b"", b"RecordID,Death\n1,0\n", b"RecordID,RecordID,In-hospital_death\n"])
def test_an_outcomes_file_without_the_two_columns_is_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"Outcomes-a\.txt, line 1: expected a header"):
        read(tmp_path, content)


def test_mortality_is_labelled_by_the_outcome_and_other_tasks_say_why_they_are_absent(tmp_path):
    result = read(tmp_path, outcomes((1, "0"), (2, "1")), {"set-b/4.txt": record(4)})
    tasks = {name: find("tasks", name) for name in names("tasks")}
    found = label_dataset(result.dataset, tasks)
    table, counts = found.pop("in_hospital_mortality")
    assert table["subject_id"].to_pylist() == [1, 2]
    assert table["boolean_value"].to_pylist() == [False, True]
    assert (counts.eligible, counts.absent) == (4, {"stay has neither an end nor an outcome": 2})
    assert all(one.num_rows == 0 for one, _ in found.values())
    reasons = {reason for _, c in found.values() for reason in (c.excluded | c.absent)}
    assert reasons == {"stay has no end"}


def test_the_outcome_is_no_event_of_the_follow_up(tmp_path):
    result = read(tmp_path, outcomes((1, "0")))
    _, events = next(result.dataset.subjects(COLUMNS))
    assert record_from_events(events).last_event == TIME_ZERO + timedelta(hours=1)


def test_outcomes_of_a_set_by_another_name_are_not_lost_in_silence(tmp_path):
    files = {f"training/{i}.txt": record(i, "01:00,HR,60") for i in (1, 2)}
    files["Outcomes-a.txt"] = outcomes((1, "0"), (2, "1"))
    with pytest.raises(DataError, match=r"name the sets (set-)?a.*records of (set-)?training.*rename"):
        ingest(folder(tmp_path / "in", files), tmp_path / "out")
    assert not (tmp_path / "out").exists()
