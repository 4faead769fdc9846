"""Odd lines of record files: each is accepted, merged, filtered or quarantined, and counted."""

import random

import pytest
from challenge_sets import HEADER, folder, ingest, one_record, record
from hypothesis import given, settings
from hypothesis import strategies as st

from chartscan.sources.physionet2012.lines import ACCEPTED, line_count, read_lines
from chartscan.sources.physionet2012.members import RECORD, Member
from chartscan.sources.physionet2012.parameters import MEASURED, NAMES

NOT_USED = [
    ("filtered", "no parameter name", ["01:00,,4.2"]),
    ("filtered", "value -1: not measured", ["00:00,Height,-1", "00:00,Gender,-1", "00:00,Weight,-1.0"]),
    ("filtered", "negative value", ["01:00,Temp,-17.8", "01:00,HR,-0.5"]),
    ("filtered", "blank", ["", "  "]),
    ("quarantined", "B20 not_three_fields", ["01:00,HR", "01:00,HR,1,2", "x", "01:00,HR,1,5"]),
    ("quarantined", "B33 unknown_parameter", ["01:00,HeartRate,60", "01:00,hr,60", "01:00,recordid,7"]),
    (
        "quarantined",
        "B43 invalid_time",
        [
            "1:00,HR,60",
            "48:01,HR,60",
            "99:00,HR,60",
            "01:60,HR,60",
            "-1:00,HR,60",
            ",HR,60",
            "01:00:00,HR,60",
        ],
    ),
    ("quarantined", "B43 descriptor_after_admission", ["01:00,Age,50", "00:01,Height,170"]),
    (
        "quarantined",
        "B57 invalid_number",
        [
            "01:00,HR,",
            "01:00,HR,nan",
            "01:00,HR,NaN",
            "01:00,HR,inf",
            "01:00,HR,-inf",
            "01:00,HR,1e999",
            "01:00,HR,1e39",  # no 32-bit float
            "01:00,HR,1_000",
            "01:00,HR,0x10",
            "01:00,HR,١٢",
            "01:00,HR,7 2",
            "01:00,HR,high",
            "01:00,HR,-",
        ],
    ),
    ("quarantined", "B57 invalid_descriptor", ["00:00,Gender,2", "00:00,Gender,0.5", "00:00,ICUType,5"]),
]


@pytest.mark.parametrize(("outcome", "reason", "lines"), NOT_USED, ids=[r for _, r, _ in NOT_USED])
def test_a_line_that_gives_no_event_is_counted_with_its_reason(tmp_path, outcome, reason, lines):
    result = one_record(tmp_path, record(7, *lines, "02:00,HR,80"))
    assert result.total(outcome) == {reason: len(lines)}
    assert result.values("HR") == [60, 80]
    assert result.sum("lines_in") == len(lines) + 2 * 3


@pytest.mark.parametrize("text", ["72", "72.0", "+72", "7.2e1", "72.", "072", " 72", "720e-1"])
def test_plain_numbers_are_read(tmp_path, text):
    result = one_record(tmp_path, record(7, f"01:00,HR,{text}"))
    assert result.values("HR") == [60, 72]


def test_the_first_and_the_last_minute_count(tmp_path):
    result = one_record(tmp_path, record(7, "00:00,HR,1", "48:00,HR,2"))
    times = [e["time"].isoformat() for e in result.events if e["subject_id"] == 7 and e["time"]]
    assert times == ["2012-01-01T00:00:00", "2012-01-01T00:00:00", "2012-01-03T00:00:00"]


def test_quarantine_says_where_a_line_stood(tmp_path):
    content = b"\xef\xbb\xbf" + record(7, "01:00,HR,x", "01:30,HR,70", "02:00,HR,y").replace(b"\n", b"\r\n")
    found = one_record(tmp_path, content).quarantine()
    places = [(q["file"], q["line"], content[q["byte_offset"] :].split(b"\r\n")[0]) for q in found]
    assert places == [("set-a/7.txt", 3, b"01:00,HR,x"), ("set-a/7.txt", 5, b"02:00,HR,y")]


def test_line_ends_of_windows_a_byte_order_mark_and_spaces_are_mended_and_counted(tmp_path):
    plain = one_record(tmp_path / "a", record(7, "01:00,HR,80")).events
    windows = one_record(tmp_path / "b", record(7, "01:00,HR,80").replace(b"\n", b"\r\n"))
    marked = one_record(tmp_path / "c", b"\xef\xbb\xbf" + record(7, "01:00,HR,80"))
    spaced = one_record(tmp_path / "d", record(7, "01:00, HR ,80"))
    unended = one_record(tmp_path / "e", record(7, "01:00,HR,80").rstrip(b"\n"))
    assert windows.events == marked.events == spaced.events == unended.events == plain
    assert windows.normalised == {"crlf_line_end": 3}
    assert marked.normalised == {"byte_order_mark": 1}
    assert spaced.normalised == {"spaces_around_field": 1}


def test_a_line_that_is_not_utf8_is_quarantined_and_the_rest_is_read(tmp_path):
    content = record(7, "01:00,HR,80").replace(b"01:00", b"00:30,HR,\xe9\n01:00")
    result = one_record(tmp_path, content)
    assert result.total("quarantined") == {"B07 bad_encoding": 1}
    assert result.values("HR") == [60, 80]


WHOLE_FILES = [
    ("no header", "7", b"00:00,RecordID,7\n01:00,HR,80\n", "B20 no_header"),
    ("UTF-16", "7", record(7).decode().encode("utf-16"), "B20 no_header"),
    ("only a mark", "7", b"\xef\xbb\xbf", "B20 no_header"),
    ("another header", "7", record(7).replace(b"Value", b"Wert"), "B20 no_header"),
    ("no RecordID", "7", f"{HEADER}\n01:00,HR,80\n".encode(), "B23 missing_record_id"),
    ("a RecordID of letters", "7", record("seven"), "B23 missing_record_id"),
    ("another RecordID", "7", record(8), "B26 record_id_differs_from_file_name"),
    (
        "two RecordIDs",
        "7",
        record(7, "00:00,RecordID,8", "00:00,RecordID,7"),
        "B26 record_id_differs_from_file_name",
    ),
    ("a file name of letters", "seven", record(7), "B26 record_id_differs_from_file_name"),
]


@pytest.mark.parametrize(
    ("name", "content", "reason"), [w[1:] for w in WHOLE_FILES], ids=[w[0] for w in WHOLE_FILES]
)
def test_a_file_that_is_not_the_record_of_its_name_is_quarantined_whole(tmp_path, name, content, reason):
    result = one_record(tmp_path, content, name)
    assert result.subjects == [6]
    assert result.total("quarantined") == {reason: line_count(content)}
    assert all(q["reason"] == reason for q in result.quarantine())


def test_an_empty_file_is_no_subject_and_told(tmp_path):
    result = one_record(tmp_path, b"")
    assert (result.subjects, result.flagged["empty_file"]) == ([6], 1)


def test_a_text_that_is_no_record_is_left_alone_and_told(tmp_path):
    result = one_record(tmp_path, b"Dear reader,\n", "README")
    assert (result.subjects, result.flagged["other_text_file"]) == ([6], 1)
    assert result.total("quarantined") == {}


def test_a_stay_without_any_measurement_is_a_subject(tmp_path):
    result = one_record(tmp_path, record(7))
    assert result.subjects == [6, 7]
    assert [e["event_type"] for e in result.events if e["subject_id"] == 7] == ["admission"]


def test_repeats_with_other_values_are_kept_and_exact_ones_merged(tmp_path):
    lines = ["01:00,HR,80", "01:00,HR,81", "01:00,HR,80.0", "01:00,HR,82", "02:00,HR,80", "00:00,RecordID,7"]
    result = one_record(tmp_path, record(7, *lines))
    assert sorted(result.values("HR")) == [60, 80, 80, 81, 82]
    assert result.sum("merged_duplicates") == 2
    assert result.flagged["repeated_measurement"] == 2


def test_lines_are_counted_by_their_line_ends():
    assert [line_count(data) for data in (b"", b"a", b"a\n", b"a\nb", b"\n\n")] == [0, 1, 1, 2, 2]


FIELDS = st.one_of(
    st.sampled_from(
        ["00:00", "01:00", "48:00", "48:01", "", "HR", "Age", "Gender", "RecordID", "7", "-1", "1e3"]
    ),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n,"), max_size=4),
)


def by_hand(fields):
    """Whether a line of three fields is an event, told field by field with plain Python."""
    time, name, value = (field.strip() for field in fields)
    hours, minutes = time[:2], time[3:]
    if len(time) != 5 or time[2] != ":" or not (hours + minutes).isdigit() or not time.isascii():
        return False
    minute = 60 * int(hours) + int(minutes)
    if int(minutes) > 59 or minute > 2880 or name not in NAMES:
        return False
    try:
        number = float(value)
    except ValueError:
        return False
    if not value.isascii() or "_" in value or not 0 <= number <= 3.4e38:
        return False
    if name in {p.name for p in MEASURED}:
        return True
    known = {"Gender": (0, 1), "ICUType": (1, 2, 3, 4)}.get(name)
    return minute == 0 and (known is None or number in known)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=8, unique=True))
def test_lines_are_read_as_a_plain_loop_reads_them(fields):
    fields = [f for f in fields if f[1].strip() != "RecordID"]
    data = record(7, *(",".join(f) for f in fields))
    found = read_lines([Member(RECORD, "set-a", "7.txt", "7", "a", data, 0)])
    used = found.outcome == ACCEPTED
    merged = found.outcome == 1
    expected = [False, True, *map(by_hand, fields)]
    assert (used | merged).tolist() == expected


def test_cutting_the_files_into_batches_changes_nothing(tmp_path):
    rng = random.Random(0)
    rows = [f"{rng.randrange(48):02}:{rng.randrange(60):02},HR,{rng.randrange(200)}" for _ in range(63)]
    files = {f"set-a/{i}.txt": record(i, *rows[i:], "x") for i in range(1, 20)}
    files["set-b/99.txt"] = record(99)
    path = folder(tmp_path / "sets", files)
    members = [Member(RECORD, "s", n, n[6:-4], "a", data, 0) for n, data in files.items()]
    whole = read_lines(members)
    single = [read_lines([member]) for member in members]
    assert whole.outcome.tolist() == [o for one in single for o in one.outcome.tolist()]
    assert whole.repeated == sum(one.repeated for one in single)
    result = ingest(path, tmp_path / "out")
    assert result.total("quarantined") == {"B20 not_three_fields": 19}
