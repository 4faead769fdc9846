"""The 66 cases of the catalogue of bad input: what PhysioNet 2012 makes of each, or why it cannot have it.

Every input is made here and goes through the command. `sound` is one sound record with an outcome; each case
adds or replaces files beside it. What is expected is the exit code and some of the counts.
"""

import gzip
import io
import json
import re
import sys
import tarfile
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from challenge_sets import HEADER, folder, outcomes, record, tar, zipped

from chartscan import cli
from chartscan.sources.physionet2012.members import Member

NOT_APPLICABLE = {
    "B03": "no text is escaped: the format has neither quotes nor backslashes",
    "B09": "no JSON",
    "B11": "no nesting",
    "B12": "no JSON keys; a column named twice is tested with B20",
    "B17": "a file holds one type, told by its name; a file of another kind is tested with B15",
    "B21": "MEDS is written here, not read",
    "B22": "no Parquet is read",
    "B27": "no references: a record is its file",
    "B28": "no references: a record is its file",
    "B29": "no links between subjects",
    "B30": "the subject is always the patient of the record",
    "B31": "no deletions",
    "B32": "codes have no system; another spelling of a name is tested with B33",
    "B34": "no status",
    "B35": "no status",
    "B36": "no versions; two values at one time are tested with B62",
    "B37": "no intentions or negations",
    "B38": "no extensions",
    "B39": "every time is hours and minutes",
    "B40": "times have no zone: they count from admission",
    "B41": "times count from admission; no clock is changed",
    "B42": "times count from admission; no zones",
    "B44": "no dates; times beyond 48:00 are tested with B43",
    "B45": "no ends",
    "B46": "no births",
    "B47": "no time of death",
    "B48": "one column tells of death, without a time; two outcomes are tested with B25",
    "B50": "one stay per record",
    "B52": "every stay is over; none has an end",
    "B54": "no time of recording: known when measured",
    "B55": "no time beyond 48:00 is accepted (B43)",
    "B56": "no comparators; a text in place of a number is tested with B57",
    "B58": "no units are written: they are fixed by the challenge",
    "B59": "one kind of value",
    "B60": "values are 32-bit numbers by design; the text of the file stays with the user",
}

GOOD = record(6, "00:00,Age,50", "01:00,HR,60", "02:00,HR,61")
SOUND = {"set-a/6.txt": GOOD, "Outcomes-a.txt": outcomes((6, "0"))}
SEVEN = {"Outcomes-a.txt": outcomes((6, "0"), (7, "1"))}


class Outcome(NamedTuple):
    """What a run did; `manifest` is empty where nothing was published."""

    code: int
    said: str
    manifest: dict[str, Any]
    events: list[dict[str, Any]]

    def values(self, name: str = "HR", subject: int = 7) -> list[float | None]:
        """Values of one parameter of one subject, by time."""
        found = [
            e for e in self.events if e["subject_id"] == subject and e["code"] == f"PHYSIONET2012//{name}"
        ]
        return [e["numeric_value"] for e in sorted(found, key=lambda e: str(e["time"]))]

    def told(self) -> dict[int, str]:
        """How stays ended."""
        found = (e for e in self.events if e["event_type"] == "outcome")
        return {e["subject_id"]: e["code"].rpartition("//")[2] for e in found}

    def count(self, outcome: str) -> dict[str, int]:
        """Lines by reason, headers left out."""
        found: dict[str, int] = {}
        for row in self.manifest["accounting"]["lines"]:
            for reason, n in row[outcome].items():
                found[reason] = found.get(reason, 0) + n
        found.pop("header", None)
        return found

    def merged(self) -> int:
        """Lines that say what another said."""
        return sum(row["merged_duplicates"] for row in self.manifest["accounting"]["lines"])

    def files(self, how: str) -> dict[str, str]:
        """Files and why, of one treatment."""
        return {f["name"]: f["reason"] for f in self.manifest["accounting"]["files"] if f["how"] == how}

    @property
    def warnings(self) -> str:
        """Warnings of the run."""
        return " ".join(self.manifest["accounting"]["warnings"])

    def __getattr__(self, name: str) -> Any:
        return self.manifest["accounting"][name]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Ingests SOUND with `files` added or changed; more arguments go to the command."""

    def run_(files: dict[str, bytes], *arguments: str, sound: dict[str, bytes] = SOUND) -> Outcome:
        source, out = folder(tmp_path / "sets", sound | files), tmp_path / "out"
        lenient = ("--store", "error_budget=1") if "--budget" not in arguments else ()
        rest = [a for a in arguments if a != "--budget"]
        argv = ["chartscan", "ingest", "physionet2012", str(source), str(out), *lenient, *rest]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setenv("COLUMNS", "1000")
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        said = "".join(capsys.readouterr())
        manifest, events = {}, []
        if out.exists():
            manifest = json.loads((out / "manifest.json").read_text())
            shards = sorted((out / "data").rglob("*.parquet"))
            events = [row for shard in shards for row in pq.ParquetFile(shard).read().to_pylist()]
        else:
            assert code in (2, 4, 5)
        return Outcome(code, said, manifest, events)

    return run_


NONE: Mapping[str, int] = MappingProxyType({})
DIED = MappingProxyType({6: "ALIVE", 7: "EXPIRED"})


class Lines(NamedTuple):
    """A case of one more record (or outcomes) file, and what is expected of it."""

    case: str
    name: str
    files: dict[str, bytes]
    code: int = 0
    values: list[float | None] | None = None  # of HR of record 7
    quarantined: Mapping[str, int] = NONE
    filtered: Mapping[str, int] = NONE
    normalised: Mapping[str, int] = NONE
    flagged: Mapping[str, int] = NONE
    merged: int = 0
    warning: str = ""
    told: Mapping[int, str] = DIED


def seven(*lines: str) -> dict[str, bytes]:
    """A record 7 with its outcome."""
    return {"set-a/7.txt": record(7, *lines)} | SEVEN


def raw(data: bytes) -> dict[str, bytes]:
    """The bytes of a record 7."""
    return {"set-a/7.txt": data} | SEVEN


ROW = "{},6,1,5,-1,{}"
COLUMNS = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"


def rows(*lines: str, end: str = "\n", header: str = COLUMNS) -> dict[str, bytes]:
    """A record 7 and the outcomes as written."""
    text = "\n".join([header, "6,6,1,5,-1,0", *lines]) + end
    return {"set-a/7.txt": record(7, "01:00,HR,70"), "Outcomes-a.txt": text.encode()}


ALIVE = {6: "ALIVE"}
MISSING = {"record_without_outcome": 1}
NO_OUTCOME = "1 records have no known outcome"
UNKNOWN = "lines name 1 parameters that the challenge does not have"
HEAD = (HEADER + "\n").encode()

CASES = [
    Lines(
        "B01",
        "cut in a field",
        raw(record(7, "01:00,HR,70", "02:00,H")[:-1]),
        3,
        [70],
        {"B01 cut_last_line": 1},
    ),
    Lines(
        "B01",
        "a cut value cannot be told, so it is flagged",
        raw(record(7, "01:00,HR,70", "02:00,HR,7")[:-1]),
        0,
        [70, 7],
        flagged={"no_final_newline": 1},
    ),
    Lines(
        "B01",
        "zeros of a disk",
        raw(record(7, "01:00,HR,70", "02:00,HR,7")[:-1] + b"\0" * 9),
        3,
        [70],
        {"B01 cut_last_line": 1},
        normalised={"nul_dropped": 1},
    ),
    Lines(
        "B01",
        "cut outcomes",
        rows("7,6,1", end=""),
        3,
        [70],
        {"B01 cut_last_line": 1},
        flagged=MISSING,
        warning=NO_OUTCOME,
        told=ALIVE,
    ),
    Lines(
        "B01",
        "cut at the outcome",
        rows("7,6,1,5,-1,", end=""),
        3,
        [70],
        {"B01 cut_last_line": 1},
        flagged=MISSING,
        warning=NO_OUTCOME,
        told=ALIVE,
    ),
    Lines(
        "B02",
        "malformed in the middle",
        seven("01:00,HR,70", "x", "02:00,HR,71"),
        3,
        [70, 71],
        {"B20 not_three_fields": 1},
    ),
    Lines(
        "B04",
        "junk after a line",
        seven("01:00,HR,70", "02:00,HR,71TRAILER"),
        3,
        [70],
        {"B57 invalid_number": 1},
    ),
    Lines(
        "B05",
        "blank lines, Windows, no last line end",
        raw(record(7, "", "  ", "01:00,HR,70").replace(b"\n", b"\r\n")[:-2]),
        0,
        [70],
        filtered={"blank": 2},
        normalised={"crlf_line_end": 4},
        flagged={"no_final_newline": 1},
    ),
    Lines(
        "B06",
        "a mark at the start",
        raw(b"\xef\xbb\xbf" + record(7, "01:00,HR,70")),
        0,
        [70],
        normalised={"byte_order_mark": 1},
    ),
    Lines(
        "B06",
        "a mark in the middle of files put together",
        raw(record(7, "01:00,HR,70") + b"\xef\xbb\xbf" + record(7, "02:00,HR,71")),
        0,
        [70, 71],
        filtered={"repeated header": 1},
        normalised={"byte_order_mark": 1},
        merged=1,
    ),
    Lines(
        "B06",
        "a mark in outcomes",
        {
            "set-a/7.txt": record(7, "01:00,HR,70"),
            "Outcomes-a.txt": b"\xef\xbb\xbf" + SEVEN["Outcomes-a.txt"],
        },
        0,
        [70],
        normalised={"byte_order_mark": 1},
    ),
    *(
        Lines(
            "B07",
            name,
            raw(record(7, "01:00,HR,70").decode().encode(name)),
            3,
            [],
            {"B20 no_header": n},
            told=ALIVE,
            warning="1 records that are not in the set",
        )
        for name, n in (("utf-16", 4), ("utf-16-le", 4), ("utf-16-be", 3))
    ),
    Lines(
        "B07",
        "one Latin-1 line",
        raw(record(7, "01:00,HR,70") + b"02:00,HR,\xe9\n03:00,HR,71\n"),
        3,
        [70, 71],
        {"B07 bad_encoding": 1},
    ),
    Lines(
        "B07",
        "a Latin-1 row",
        {
            "set-a/7.txt": record(7, "01:00,HR,70"),
            "Outcomes-a.txt": SEVEN["Outcomes-a.txt"] + b"8,\xe9,1,5,-1,0\n",
        },
        3,
        [70],
        {"B07 bad_encoding": 1},
    ),
    Lines("B08", "NUL in a line", seven("01:00,H\0R,70"), 0, [70], normalised={"nul_dropped": 1}),
    Lines("B08", "NUL in a row", rows("7,6,1,5,-1,1\0"), 0, [70], normalised={"nul_dropped": 1}),
    Lines(
        "B08",
        "line ends that are none",
        seven("01:00,HR,70\u2028", "02:00,HR,7\x0b1"),
        3,
        [70],
        {"B57 invalid_number": 1},
        normalised={"spaces_around_field": 1},
    ),
    Lines(
        "B13",
        "several gzip members",
        {"set-a/7.txt.gz": gzip.compress(HEAD) + gzip.compress(record(7, "01:00,HR,70")[len(HEAD) :])}
        | SEVEN,
        0,
        [70],
        normalised={"gzip_text": 1},
    ),
    Lines(
        "B13",
        "gzip named txt",
        raw(gzip.compress(record(7, "01:00,HR,70"))),
        0,
        [70],
        normalised={"gzip_text": 1},
    ),
    Lines("B13", "plain text named gz", {"set-a/7.txt.gz": record(7, "01:00,HR,70")} | SEVEN, 0, [70]),
    Lines(
        "B13",
        "a plain tar named tar.gz",
        {"set-a.tar.gz": tar({"set-a/7.txt": record(7, "01:00,HR,70")}, "w")} | SEVEN,
        0,
        [70],
    ),
    Lines(
        "B15",
        "an empty record file",
        raw(b""),
        0,
        [],
        flagged={"empty_file": 1},
        told=ALIVE,
        warning="set-a/7.txt: empty record files",
    ),
    Lines(
        "B16",
        "an archive beside its unpacked folder",
        seven("01:00,HR,70")
        | {"set-a.zip": zipped({"set-a/7.txt": record(7, "01:00,HR,70"), "set-a/6.txt": GOOD})},
        0,
        [70],
        flagged={"file_given_twice": 2},
        merged=3 + 5,
    ),
    Lines(
        "B16",
        "outcomes twice",
        seven("01:00,HR,70") | {"more/Outcomes-a.txt": SEVEN["Outcomes-a.txt"]},
        0,
        [70],
        merged=2,
    ),
    Lines(
        "B18",
        "outcomes of records that are not there",
        rows("7,6,1,5,-1,1", "8,6,1,5,-1,1"),
        0,
        [70],
        filtered={"no such record in the set": 1},
        warning="1 records that are not in the set",
    ),
    Lines(
        "B18", "records without outcomes", rows(), 0, [70], flagged=MISSING, warning=NO_OUTCOME, told=ALIVE
    ),
    Lines(
        "B20",
        "ragged",
        seven("01:00,HR,70", "02:00,HR", "02:00,HR,1,5"),
        3,
        [70],
        {"B20 not_three_fields": 2},
    ),
    Lines("B20", "semicolons", seven("01:00,HR,70", "02:00;HR;71"), 3, [70], {"B20 not_three_fields": 1}),
    Lines(
        "B20",
        "quotes and line breaks",
        seven("01:00,HR,70", '02:00,"HR",71', '"02:00', '",HR,71'),
        3,
        [70],
        {"B33 unknown_parameter": 1, "B20 not_three_fields": 1, "B43 invalid_time": 1},
        warning=UNKNOWN,
    ),
    Lines(
        "B20",
        "a repeated header",
        seven("01:00,HR,70", HEADER, "02:00,HR,71"),
        0,
        [70, 71],
        filtered={"repeated header": 1},
    ),
    Lines(
        "B20",
        "words for nothing",
        seven("01:00,HR,NA", "01:00,HR,NULL", "01:00,HR,", "02:00,HR,70"),
        3,
        [70],
        {"B57 invalid_number": 3},
    ),
    Lines(
        "B20",
        "a header of semicolons",
        raw(record(7, "01:00,HR,70").replace(b",", b";")),
        3,
        [],
        {"B20 no_header": 3},
        told=ALIVE,
        warning="1 records that are not in the set",
    ),
    Lines(
        "B20",
        "a field too many is no other outcome",
        rows("7,6,1,5,2,0,1"),
        3,
        [70],
        {"B20 not_the_fields_of_the_header": 1},
        flagged=MISSING,
        warning=NO_OUTCOME,
        told=ALIVE,
    ),
    Lines(
        "B20",
        "a repeated header of outcomes",
        rows(COLUMNS, "7,6,1,5,-1,1"),
        0,
        [70],
        filtered={"repeated header": 1},
    ),
    Lines(
        "B20",
        "another order of columns",
        {
            "set-a/7.txt": record(7, "01:00,HR,70"),
            "Outcomes-a.txt": b"In-hospital_death,SOFA,RecordID\n0,1,6\n1,0,7\n",
        },
        0,
        [70],
    ),
    Lines(
        "B23",
        "no RecordID",
        raw(HEAD + b"01:00,HR,70\n"),
        3,
        [],
        {"B23 missing_record_id": 2},
        told=ALIVE,
        warning="1 records that are not in the set",
    ),
    Lines(
        "B23",
        "no RecordID in a row",
        rows(",6,1,5,-1,0", "7,6,1,5,-1,1"),
        3,
        [70],
        {"B23 missing_record_id": 1},
    ),
    Lines("B24", "the same row twice", rows("7,6,1,5,-1,1", "7,6,1,5,-1,1"), 0, [70], merged=1),
    Lines(
        "B25",
        "two outcomes",
        rows("7,6,1,5,-1,1", "7,6,1,5,-1,0"),
        3,
        [70],
        {"B25 two_outcomes_of_one_record": 2},
        flagged=MISSING,
        warning=NO_OUTCOME,
        told=ALIVE,
    ),
    Lines(
        "B26",
        "another RecordID than the name",
        raw(record(8, "01:00,HR,70")),
        3,
        [],
        {"B26 record_id_differs_from_file_name": 3},
        told=ALIVE,
        warning="not in the set",
    ),
    Lines(
        "B33",
        "a measurement without a name",
        seven("01:00,,70", "02:00,HR,71"),
        0,
        [71],
        filtered={"no parameter name": 1},
    ),
    Lines(
        "B33",
        "another spelling",
        seven("01:00,HeartRate,70", "02:00,HR,71"),
        3,
        [71],
        {"B33 unknown_parameter": 1},
        warning=UNKNOWN,
    ),
    Lines(
        "B43",
        "times that are none",
        seven(
            "48:00,HR,70",
            "48:01,HR,1",
            "24:60,HR,1",
            "-1:00,HR,1",
            "1:00,HR,1",
            "01:00:60,HR,1",
            "24:00,HR,69",
        ),
        3,
        [69, 70],
        {"B43 invalid_time": 5},
    ),
    Lines(
        "B43",
        "a descriptor after admission",
        seven("01:00,Age,50", "01:00,HR,70"),
        3,
        [70],
        {"B43 descriptor_after_admission": 1},
    ),
    Lines(
        "B49", "a masked age", seven("00:00,Age,300", "01:00,HR,70"), 0, [70], flagged={"age_above_120": 1}
    ),
    Lines(
        "B49", "no age", seven("00:00,Age,-1", "01:00,HR,70"), 0, [70], filtered={"value -1: not measured": 1}
    ),
    Lines("B51", "a stay without events", seven(), 0, []),
    Lines("B53", "equal times in any order", seven("02:00,HR,71", "01:00,HR,70", "01:00,K,4"), 0, [70, 71]),
    Lines(
        "B57",
        "numbers that are none",
        seven("01:00,HR,NaN", "01:00,HR,Inf", "01:00,HR,1e999", "01:00,HR,-", "01:00,HR,1_0", "02:00,HR,70"),
        3,
        [70],
        {"B57 invalid_number": 5},
    ),
    Lines(
        "B57",
        "sentinels",
        seven("01:00,HR,9999999", "02:00,HR,2147483647", "03:00,HR,-0", "04:00,Urine,999"),
        0,
        [None, None, 0],
        flagged={"sentinel_value": 3},
    ),
    Lines(
        "B57",
        "not measured",
        seven("00:00,Weight,-1", "01:00,Temp,-17.8", "02:00,HR,70"),
        0,
        [70],
        filtered={"value -1: not measured": 1, "negative value": 1},
    ),
    Lines(
        "B57",
        "a sex that there is not",
        seven("00:00,Gender,2", "00:00,ICUType,0", "01:00,HR,70"),
        3,
        [70],
        {"B57 invalid_descriptor": 2},
    ),
    *(
        Lines(
            "B57",
            f"an outcome of {death}",
            rows(f"7,6,1,5,-1,{death}"),
            3,
            [70],
            {"B57 outcome_neither_0_nor_1": 1},
            flagged=MISSING,
            warning=NO_OUTCOME,
            told=ALIVE,
        )
        for death in ("2", "0.0", "yes", "NaN", "O", "00", "False", "+1")
    ),
    *(
        Lines(
            "B57",
            f"an outcome of '{death}'",
            rows(f"7,6,1,5,-1,{death}"),
            0,
            [70],
            filtered={"outcome not known": 1},
            flagged=MISSING,
            warning=NO_OUTCOME,
            told=ALIVE,
        )
        for death in ("", "-1")
    ),
    Lines(
        "B61",
        "impossible",
        seven("01:00,pH,735", "01:00,Temp,0", "01:00,HR,700", "01:00,FiO2,40"),
        0,
        [700],
        flagged={"impossible_value": 4},
    ),
    Lines(
        "B62",
        "duplicates and repeats",
        seven("01:00,HR,70", "01:00,HR,70.0", "01:00,HR,71"),
        0,
        [70, 71],
        flagged={"repeated_measurement": 1},
        merged=1,
    ),
    Lines("B63", "no event and one event", seven("01:00,HR,70"), 0, [70]),
    Lines(
        "B64",
        "a long record",
        seven(*(f"{m // 60:02}:{m % 60:02},HR,{m}" for m in range(2881))),
        0,
        [float(m) for m in range(2881)],
        flagged={"impossible_value": 2881 - 501, "sentinel_value": 1},
    ),
    Lines(
        "B66",
        "a formula for a name",
        seven("01:00,=cmd|calc,70", "02:00,HR,71"),
        3,
        [71],
        {"B33 unknown_parameter": 1},
        warning=UNKNOWN,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{c.case}: {c.name[:40]}" for c in CASES])
def test_bad_input_is_read_with_these_counts(run, case):
    found = run(case.files)
    assert found.code == case.code, found.said
    assert found.count("quarantined") == case.quarantined
    stranger = {"no such record in the set": 1} if case.told == ALIVE and case.flagged != MISSING else {}
    assert found.count("filtered") == case.filtered | stranger
    assert (found.normalised, found.flagged) == (case.normalised, case.flagged)
    assert found.merged() == case.merged
    assert found.values() == case.values
    assert found.told() == case.told
    assert case.warning in found.warnings
    assert bool(found.warnings) == bool(case.warning)
    assert all(f"Warning: {text}" in found.said for text in found.manifest["accounting"]["warnings"])
    quarantined = sum(case.quarantined.values())
    assert (f"{quarantined} lines are in quarantine" in found.said) == bool(quarantined)
    for row in found.manifest["accounting"]["lines"]:
        apart = sum(row["filtered"].values()) + sum(row["quarantined"].values())
        assert row["lines_in"] == row["accepted"] + row["merged_duplicates"] + apart


def tar_with(**changes: Any) -> bytes:
    """A tar with one member that is changed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo("set-a/7.txt")
        for name, value in changes.items():
            setattr(member, name, value)
        archive.addfile(member)
    return out.getvalue()


DEVICE = {"type": tarfile.CHRTYPE}
LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc/hostname"}
MANY = {"set-a.zip": zipped({f"set-a/{i}.txt": b"" for i in range(20)})}
BOMB = zipped({f"set-a/{i}.txt": bytes(1 << 20) for i in range(3)})
PACKED = tar({"set-a/7.txt": record(7, "01:00,HR,70")})

REFUSED = [
    ("B10", {"set-a/7.txt": record(7) + b"x" * (1 << 20)}, r"set-a/7\.txt holds a text file over 1 MB"),
    ("B13", {"set-a.tar.gz": PACKED[:-9]}, r"set-a\.tar\.gz is damaged or no archive"),
    ("B13", {"set-a.tar.gz": PACKED + b"junk"}, r"set-a\.tar\.gz is damaged or no archive"),
    ("B13", {"set-a/7.txt.gz": gzip.compress(record(7, "01:00,HR,70"))[:-9]}, r"set-a/7\.txt\.gz is damaged"),
    ("B13", {"set-a/7.txt.gz": gzip.compress(record(7)) + b"junk"}, r"set-a/7\.txt\.gz is damaged"),
    ("B14", {"set-a.zip": BOMB}, r"set-a\.zip is larger than 2 MB when unpacked"),
    (
        "B14",
        {"set-a/7.txt.gz": gzip.compress(bytes(2 << 20))},
        r"set-a/7\.txt\.gz holds a text file over 1 MB",
    ),
    ("B14", {"set-a.zip": zipped({"../7.txt": record(7)})}, r"set-a\.zip holds a member .* leads out"),
    (
        "B14",
        {"set-a.tar.gz": tar({"/set-a/7.txt": record(7)})},
        r"set-a\.tar\.gz holds a member .* leads out",
    ),
    ("B14", {"set-a.tar.gz": tar_with(**LINK)}, r"set-a\.tar\.gz holds a member that is no plain file"),
    ("B14", {"set-a.tar.gz": tar_with(**DEVICE)}, r"set-a\.tar\.gz holds a member that is no plain file"),
    ("B14", MANY, r"set-a\.zip holds more than 10 members"),
    ("B14", {"set-a.tar": tar({f"set-a/{i}.txt": b"" for i in range(20)}, "w")}, r"more than 10 members"),
    ("B16", {"set-b/6.txt": GOOD}, r"set-b \(set 'b'\) holds a record that was read before, in set 'a'"),
    ("B16", {"set-a.zip": zipped({"set-a/6.txt": record(6)})}, "holds a record that was read before"),
    ("B19", {"set-a/7.txt.part": b"Time,"}, r"set-a/7\.txt\.part: still being written"),
    ("B19", {"set-b.tar.gz.crdownload": b"x"}, r"set-b\.tar\.gz\.crdownload: still being written"),
    ("B19", {"set-a/7.part": HEAD}, r"set-a/7\.part: still being written"),
    (
        "B20",
        {"Outcomes-a.txt": b"RecordID;In-hospital_death\n6;0\n"},
        r"Outcomes-a\.txt, line 1: expected a header",
    ),
    (
        "B20",
        {"Outcomes-a.txt": COLUMNS.encode() + b",RecordID\n"},
        r"Outcomes-a\.txt, line 1: expected a header",
    ),
    ("B15", {"Outcomes-a.txt": b""}, r"Outcomes-a\.txt, line 1: expected a header"),
    (
        "B07",
        {"Outcomes-a.txt": SOUND["Outcomes-a.txt"].decode().encode("utf-16")},
        r"Outcomes-a\.txt, line 1",
    ),
]


@pytest.mark.parametrize(("case", "files", "message"), REFUSED, ids=[f"{c}: {m[:40]}" for c, _, m in REFUSED])
def test_bad_input_is_refused_with_the_file_and_the_reason(run, monkeypatch, case, files, message):
    monkeypatch.setattr(sys.modules[Member.__module__], "MOST_MEMBERS", 10)
    limits = ("--set", "record_limit_mb=1", "--set", "archive_limit_mb=2")
    found = run(files, *limits)
    assert found.code == 5, found.said
    assert found.manifest == {}
    assert re.search(message, found.said.replace("\n", " ")), found.said
    assert "Traceback" not in found.said


SET_ASIDE = [  # case, file, reason, whether it is a warning
    ("B14", "set-a/._6.txt", b"x", "hidden file", False),
    ("B14", ".DS_Store", b"x", "hidden file", False),
    ("B15", "README.md", b"words", "no record", False),
    ("B15", "notes.txt", b"Dear reader", "no record", False),
    ("B15", "nothing.txt", b"", "empty", False),
    (
        "B17",
        "Outcomes.txt",
        SOUND["Outcomes-a.txt"],
        "outcomes of which set? Name it Outcomes-<set>.txt",
        True,
    ),
    ("B17", "Outcomes-b.xlsx", b"PK\x03\x04", "no text: save it as Outcomes-<set>.txt", True),
    ("B17", "set-b.7z", b"7z\xbc\xaf\x27\x1c", "archive that is not read: unpack it", True),
    ("B17", "set-b.tar.bz2", b"BZh9", "archive that is not read: unpack it", True),
    ("B19", "set-a/6.txt~", GOOD, "backup copy", False),
    ("B19", "x.tmp", b"x", "temporary file", False),
]


@pytest.mark.parametrize(
    ("case", "name", "content", "reason", "doubtful"), SET_ASIDE, ids=[s[1] for s in SET_ASIDE]
)
def test_a_file_that_is_not_read_is_named_with_its_reason(run, case, name, content, reason, doubtful):
    found = run({name: content})
    assert found.code == 0, found.said
    assert found.files("set aside") == {name: reason}
    assert f"set aside ({reason}): {name}" in found.said
    assert found.flagged.get("file_in_doubt", 0) == doubtful
    assert (f"{name} is set aside: {reason}." in found.warnings) == doubtful
    assert run({}, "--strict", "--overwrite").code == (5 if doubtful else 0)


def test_members_of_archives_that_are_not_read_are_named_too(run):
    inner = {
        "set-a/7.txt": record(7),
        "__MACOSX/set-a/._7.txt": b"x",
        "set-a.tar.gz": PACKED,
        "a.pdf": b"%PDF",
    }
    found = run({"all.zip": zipped(inner)} | SEVEN)
    assert found.files("set aside") == {
        "all.zip/__MACOSX/set-a/._7.txt": "hidden file",
        "all.zip/set-a.tar.gz": "archive within an archive: unpack it",
        "all.zip/a.pdf": "no record",
    }
    assert found.files("read") == {"all.zip": "", "Outcomes-a.txt": "", "set-a/ (records)": ""}
    assert found.flagged == {"file_in_doubt": 1}


def test_links_are_read_or_named(run, tmp_path):
    other = folder(tmp_path / "elsewhere", {"7.txt": record(7, "01:00,HR,70")})
    folder(tmp_path / "sets", SOUND)
    (tmp_path / "sets" / "set-a" / "7.txt").symlink_to(other / "7.txt")
    (tmp_path / "sets" / "set-b").symlink_to(other)
    (tmp_path / "sets" / "gone.txt").symlink_to(tmp_path / "nothing")
    found = run(SEVEN)
    assert found.values() == [70]
    assert found.files("set aside") == {"set-b/": "link to a folder", "gone.txt": "link to nothing"}
    assert found.flagged == {"file_in_doubt": 2}


def test_a_file_that_grows_while_it_is_read_is_refused(run, monkeypatch, tmp_path):
    from chartscan.sources import physionet2012

    def growing(*arguments):
        yield from members(*arguments)
        (tmp_path / "sets" / "Outcomes-a.txt").write_bytes(SEVEN["Outcomes-a.txt"])

    members = physionet2012.members
    monkeypatch.setattr(physionet2012, "members", growing)
    found = run({})
    assert (found.code, found.manifest) == (5, {})
    assert "Outcomes-a.txt: changed while being read (B19)" in found.said


def test_a_record_is_known_by_its_content_whatever_its_name_ends_in(run):
    found = run({"set-a/7.csv": record(7, "01:00,HR,70"), "set-a/8": record(8)} | SEVEN)
    assert (found.code, found.values()) == (0, [70])
    assert found.manifest["counts"]["subjects"] == 3


def test_names_of_unknown_parameters_are_counted_and_named(run):
    lines = ["01:00,HeartRate,70", "02:00,HeartRate,71", "03:00,Jane Doe,1"]
    found = run(seven(*lines))
    words = found.manifest["recognition"]["parameter"]
    assert (words["recognised"], words["unknown"]) == (3, 3)
    unknown = {w["word"]: w["records"] for w in words["words"] if w["how"] == "unknown"}
    assert unknown == {"HeartRate": 2, "a text": 1}
    assert "unknown: 'HeartRate' (2), 'a text' (1)" in found.said
    assert "--suggest-site" not in found.said
    assert "Jane" not in found.said


@pytest.mark.parametrize(("case", "files"), [("B02", seven("x")), ("B57", rows("7,6,1,5,-1,yes"))])
def test_more_bad_lines_of_a_type_than_the_budget_stop_the_run(run, case, files):
    found = run(files, "--budget")
    assert (found.code, found.manifest) == (4, {})
    assert re.search(r"(record: 1 of 8|outcome: 1 of 3) \(B", found.said)


@pytest.mark.parametrize("files", [raw(b""), rows(), rows("7,6,1,5,-1,1", "8,6,1,5,-1,0")])
def test_warnings_stop_a_strict_run(run, files):
    found = run(files, "--strict")
    assert (found.code, found.manifest) == (5, {})
    assert "warnings in a strict run" in found.said


def test_many_subjects_with_few_events_are_read(run):
    """B65."""
    files = {f"set-a/{i}.txt": record(i, "01:00,HR,60") for i in range(100, 400)}
    found = run(files | {"Outcomes-a.txt": outcomes(*((i, "0") for i in [6, *range(100, 400)]))})
    assert (found.code, found.manifest["counts"]["subjects"], len(found.told())) == (0, 301, 301)


TESTED = {c.case for c in CASES} | {c for c, *_ in REFUSED} | {c for c, *_ in SET_ASIDE} | {"B65"}


def test_every_case_of_the_catalogue_is_tested_or_has_a_reason():
    every = {f"B{n:02}" for n in range(1, 67)}
    assert TESTED | set(NOT_APPLICABLE) == every
    assert all(NOT_APPLICABLE.values())
