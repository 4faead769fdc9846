"""Three hand-written stays in (cases/physionet2012/sets), events out (expected_events.csv beside it)."""

import csv
from datetime import datetime, timedelta

import pytest
from challenge_sets import CASES, folder, ingest, tar, zipped

from chartscan.sources.physionet2012.parameters import DESCRIPTORS, MEASURED

TIME_ZERO = datetime(2012, 1, 1)


def readable(event):
    hours = "" if event["time"] is None else f"{(event['time'] - TIME_ZERO) / timedelta(hours=1):.4f}"
    number = "" if event["numeric_value"] is None else f"{event['numeric_value']:.4f}"
    texts = event["code"], number, event["event_type"], event["encounter_id"] or ""
    return (event["subject_id"], hours, *texts)


def expected():
    with (CASES / "expected_events.csv").open() as file:
        return [
            (
                int(row["subject_id"]),
                f"{float(row['hours']):.4f}" if row["hours"] else "",
                row["code"],
                f"{float(row['numeric_value']):.4f}" if row["numeric_value"] else "",
                row["event_type"],
                row["encounter_id"],
            )
            for row in csv.DictReader(file)
        ]


def test_three_stays_give_the_events_a_clinician_expects(tmp_path):
    result = ingest(CASES / "sets", tmp_path / "out")
    assert sorted(map(readable, result.events)) == sorted(expected())
    assert all(e["available_time"] == e["time"] for e in result.events)
    assert result.total("quarantined") == {}
    assert result.total("filtered") == {
        "no parameter name": 1,
        "value -1: not measured": 5,
        "negative value": 1,
    }
    assert result.sum("merged_duplicates") == 1
    assert result.flagged == {"record_of_unlabelled_set": 1, "repeated_measurement": 1}


def test_subjects_are_the_record_ids_and_every_code_is_described(tmp_path):
    result = ingest(CASES / "sets", tmp_path / "out")
    assert result.subjects == [1001, 1002, 1003]
    outcomes = {"HOSPITAL_OUTCOME//ALIVE", "HOSPITAL_OUTCOME//EXPIRED"}
    codes = result.dataset.codes().to_pylist()
    assert {row["code"] for row in codes if not row["description"]} == outcomes


def test_there_are_41_parameters_besides_the_record_id():
    assert len({p.name for p in MEASURED} | set(DESCRIPTORS)) == len(MEASURED) + len(DESCRIPTORS) == 41


def files_of_the_case():
    root = CASES / "sets"
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*.txt"))}


def packed(how):
    """The case as it may also come."""
    files = files_of_the_case()
    sets = {n: {k: v for k, v in files.items() if k.startswith(n)} for n in ("set-a", "set-b")}
    outcomes = {"Outcomes-a.txt": files["Outcomes-a.txt"]}
    bare = {name: {k.partition("/")[2]: v for k, v in of_set.items()} for name, of_set in sets.items()}
    return {
        "tar.gz": {f"{n}.tar.gz": tar(of_set) for n, of_set in sets.items()} | outcomes,
        "tgz, no folders in it": {f"{n}.tgz": tar(of_set) for n, of_set in bare.items()} | outcomes,
        "tar named tar.gz": {f"{n}.tar.gz": tar(of_set, "w") for n, of_set in sets.items()} | outcomes,
        "zip": {f"{n}.zip": zipped(of_set) for n, of_set in bare.items()} | outcomes,
        "one zip of everything": {"all.zip": zipped({f"challenge/{k}": v for k, v in files.items()})},
        "folders deep down": {f"deep/down/{k}": v for k, v in files.items()},
        "left-overs of a Mac": {
            **{f"{n}.zip": zipped({**of_set, f"__MACOSX/{n}/._1.txt": b"x"}) for n, of_set in sets.items()},
            **outcomes,
            ".DS_Store": b"x",
            "README.md": b"x",
        },
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "tar.gz",
        "tgz, no folders in it",
        "tar named tar.gz",
        "zip",
        "one zip of everything",
        "folders deep down",
        "left-overs of a Mac",
    ],
)
def test_folders_and_archives_of_every_kind_give_the_same_dataset(tmp_path, how):
    plain = ingest(CASES / "sets", tmp_path / "plain", splits="train=a,held_out=b").dataset
    other = ingest(
        folder(tmp_path / "sets", packed(how)), tmp_path / "out", splits="train=a,held_out=b"
    ).dataset
    assert other.fingerprint == plain.fingerprint


def test_a_set_folder_alone_is_read_too(tmp_path):
    result = ingest(CASES / "sets" / "set-b", tmp_path / "out", splits="held_out=set-b")
    assert result.subjects == [1003]


def test_time_zero_can_be_set(tmp_path):
    result = ingest(CASES / "sets", tmp_path / "out", time_zero="2020-02-02T12:00")
    assert {e["time"] for e in result.of("admission")} == {datetime(2020, 2, 2, 12)}


@pytest.mark.parametrize("time_zero", ["yesterday", "2012-01-01T00:00+01:00", ""])
def test_a_time_zero_that_is_none_is_refused(tmp_path, time_zero):
    with pytest.raises(ValueError, match="time_zero: expected a moment"):
        ingest(CASES / "sets", tmp_path / "out", time_zero=time_zero)
