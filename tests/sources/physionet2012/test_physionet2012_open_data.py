"""Set a of the real challenge against the specification's counts and a plain reading of the same files."""

import csv
import io
import tarfile
import time
from collections import Counter
from datetime import datetime

import numpy as np
import pyarrow.compute as pc
import pytest

from chartscan.cohort import COLUMNS, label_subjects
from chartscan.sources import physionet2012
from chartscan.sources.physionet2012.parameters import DESCRIPTORS
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter
from chartscan.tasks import in_hospital_mortality

pytestmark = pytest.mark.data
EMPTY = (140501, 140936, 141264)  # at most five usable rows


@pytest.fixture(scope="module")
def set_a(open_data, tmp_path_factory):
    """Set a as we published it, in a folder of links to the two files."""
    source = open_data("physionet2012")
    folder = tmp_path_factory.mktemp("physionet")
    (folder / "sets").mkdir()
    for name in ("set-a.tar.gz", "Outcomes-a.txt"):
        (folder / "sets" / name).symlink_to(source / name)
    begin = time.perf_counter()
    with DatasetWriter(folder / "out", source="physionet2012") as writer:
        physionet2012.read(folder / "sets", writer, physionet2012.Config(splits="train=a:0.8,tuning=a:0.2"))
    assert time.perf_counter() - begin < 60
    return Dataset.open(folder / "out")


def test_every_line_of_set_a_is_accounted_for_as_the_specification_counts_it(set_a):
    found = {row["type"]: row for row in set_a.manifest["accounting"]["lines"]}
    assert found["record"]["lines_in"] == 1_757_980 + 4_000  # headers
    assert found["record"]["filtered"] == {
        "header": 4_000,
        "value -1: not measured": 2_223,
        "negative value": 24,  # 2,247 with those before
    }
    assert found["record"]["accepted"] == 1_757_980 - 2_247
    assert found["record"]["merged_duplicates"] == 0
    assert not any(row["quarantined"] for row in found.values())
    assert set_a.manifest["counts"]["subjects"] == 4_000
    assert set_a.manifest["counts"]["codes"] == 37 + 2 + 2 + 4 + 1 + 2
    # a stay has an admission and an outcome, of which one is the line of its RecordID
    assert set_a.manifest["counts"]["events"] == 1_757_980 - 2_247 - 4_000 + 2 * 4_000


def test_554_of_4000_stays_end_in_death(set_a):
    codes = {row["code"]: row["event_count"] for row in set_a.codes().to_pylist()}
    assert codes["HOSPITAL_OUTCOME//EXPIRED"] == 554
    assert codes["HOSPITAL_OUTCOME//ALIVE"] == 4_000 - 554
    assert codes["HOSPITAL_ADMISSION//ICU"] == 4_000


def test_the_labels_are_the_column_of_the_outcomes_file(set_a, open_data):
    with (open_data("physionet2012") / "Outcomes-a.txt").open() as file:
        deaths = {int(row["RecordID"]): row["In-hospital_death"] == "1" for row in csv.DictReader(file)}
    first = set_a.shard_subjects(set_a.shards()[0], COLUMNS)
    task = {"in_hospital_mortality": in_hospital_mortality}
    table, counts = label_subjects(first, task, set_a.follow_up)["in_hospital_mortality"]
    assert counts.eligible == table.num_rows > 400
    found = dict(zip(table["subject_id"].to_pylist(), table["boolean_value"].to_pylist(), strict=True))
    assert found == {record_id: deaths[record_id] for record_id in found}


def test_stays_without_measurements_are_subjects(set_a):
    rows = {s: t for s, t in set_a.subjects() if s in EMPTY}
    assert sorted(rows) == list(EMPTY)
    measured = [pc.sum(pc.equal(t["encounter_id"], str(s))).as_py() - 2 for s, t in rows.items()]
    assert max(measured) <= 5


def test_the_values_are_those_a_plain_reader_finds(set_a, open_data):
    """Every 40th stay, line by line with Python's csv."""
    expected = Counter()
    with tarfile.open(open_data("physionet2012") / "set-a.tar.gz") as archive:
        for number, member in enumerate(m for m in archive if m.isfile()):
            if number % 40 == 0:
                expected += read_plainly(archive.extractfile(member).read().decode())
    wanted = {subject for subject, *_ in expected}
    found = Counter()
    for subject, table in set_a.subjects(["time", "code", "numeric_value"]):
        if subject in wanted:
            for row in table.to_pylist():
                if row["numeric_value"] is not None:
                    name = row["code"].partition("//")[2]
                    minute = 0 if row["time"] is None else (row["time"] - ZERO).total_seconds() // 60
                    found[subject, minute, name, row["numeric_value"]] += 1
    assert found == expected


ZERO = datetime(2012, 1, 1)


def read_plainly(text):
    rows = list(csv.DictReader(io.StringIO(text)))
    subject = next(int(row["Value"]) for row in rows if row["Parameter"] == "RecordID")
    found = Counter()
    for row in rows:
        value, name = float(row["Value"]), row["Parameter"]
        coded = name in ("RecordID", "Gender", "ICUType")
        if value >= 0 and not coded:
            hours, minutes = row["Time"].split(":")
            assert name not in DESCRIPTORS or row["Time"] == "00:00"
            found[subject, 60 * int(hours) + int(minutes), name, float(np.float32(value))] += 1
    return found


def test_splits_are_shares_of_the_set(set_a):
    found = Counter(set_a.splits().values())
    assert set(found) == {"train", "tuning"}
    assert found["train"] == pytest.approx(3_200, abs=80)
