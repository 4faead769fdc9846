"""Labels of a whole dataset on disk, and of real admissions against plain queries."""

from datetime import datetime, timedelta

import polars as pl
import pyarrow as pa
import pytest

from chartscan.cohort import label_dataset, label_subjects
from chartscan.find import find, names
from chartscan.schema import EVENTS, check
from chartscan.store.config import ExportTime, StoreConfig
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter

TASKS = {name: find("tasks", name) for name in names("tasks")}


def admissions_as_events(admissions):
    """EVENTS from rows with subject_id, hadm_id, admittime, dischtime, admission_type, discharge_location."""
    starts = admissions.select(
        "subject_id",
        time="admittime",
        code="HOSPITAL_ADMISSION//" + pl.col("admission_type"),
        event_type=pl.lit("admission"),
        encounter_id=pl.col("hadm_id").cast(pl.String),
    )
    ends = admissions.select(
        "subject_id",
        time="dischtime",
        code=pl.concat_str(
            pl.lit("HOSPITAL_DISCHARGE"), pl.col("discharge_location"), separator="//", ignore_nulls=True
        ),
        event_type=pl.lit("discharge"),
        encounter_id=pl.col("hadm_id").cast(pl.String),
    )
    table = (
        pl.concat([starts, ends]).with_columns(available_time="time").sort("subject_id", "time").to_arrow()
    )
    return check(table, EVENTS, "admissions")


def by_subject(table):
    frame = pl.from_arrow(table)
    return [(key[0], part.to_arrow()) for key, part in frame.group_by("subject_id", maintain_order=True)]


@pytest.fixture(scope="module")
def admissions(open_data):
    path = open_data("mimic-iv-demo") / "hosp" / "admissions.csv.gz"
    return pl.read_csv(path, try_parse_dates=True).with_columns(
        pl.col("admittime", "dischtime").cast(pl.Datetime("us"))
    )


def merged(admissions):
    """Stays as polars finds them: a new one begins where an admission lies after all earlier discharges."""
    earlier = pl.col("dischtime").cum_max().shift(1).over("subject_id")
    begins = (pl.col("admittime") > earlier).fill_null(True)
    ordered = admissions.sort("subject_id", "admittime").with_columns(stay=begins.cum_sum())
    return ordered.group_by("subject_id", "stay").agg(
        start=pl.col("admittime").min(),
        end=pl.col("dischtime").max(),
        died=pl.col("hospital_expire_flag").max() == 1,
        said=pl.col("discharge_location").is_not_null().sort_by("dischtime").last(),
    )


@pytest.mark.data
def test_real_admissions_get_the_labels_of_plain_queries(admissions):
    rule = {"rule": "days_after_last_event", "days": 365}
    found = label_subjects(by_subject(admissions_as_events(admissions)), TASKS, rule)
    stays = merged(admissions)
    length = pl.col("end") - pl.col("start")
    day_long = stays.filter(length >= timedelta(days=1))
    assert (len(admissions), len(stays)) == (275, 274)  # one pair touches: a transfer
    assert {counts.index_stays for _, counts in found.values()} == {274}

    deaths = found["in_hospital_mortality"][1]
    told = day_long.filter(pl.col("said") | pl.col("died"))
    assert (deaths.positive, deaths.negative) == (told["died"].sum(), (~told["died"]).sum())
    # these rows hold no dates of death, so a missing discharge_location leaves the outcome unknown
    assert deaths.absent == {"no disposition and no death": len(day_long) - len(told)}
    assert found["long_stay_7d"][1].positive == len(stays.filter(length > timedelta(days=7)))

    gap = pl.col("start").shift(-1).over("subject_id", order_by="start") - pl.col("end")
    alive = stays.with_columns(gap=gap).filter(~pl.col("died"))
    readmissions = found["readmission_30d"][1]
    assert readmissions.positive == len(alive.filter(pl.col("gap") <= timedelta(days=30)))
    assert readmissions.eligible == len(alive)


def test_a_dataset_is_labelled_by_its_own_follow_up_rule(tmp_path):
    start = datetime(2150, 1, 1)
    rows = [
        {"subject_id": i, "hadm_id": i * 10 + j, "admittime": start + timedelta(days=j * 20 + i)}
        for i in range(30)
        for j in range(3)
    ]
    made = pl.DataFrame(rows).with_columns(
        dischtime=pl.col("admittime") + timedelta(days=9),
        admission_type=pl.lit("URGENT"),
        discharge_location=pl.lit("HOME"),
    )
    followed = ExportTime(start + timedelta(days=90))
    config = StoreConfig(shard_rows=20, follow_up=followed, threads=1)
    with DatasetWriter(tmp_path / "d", source="test", config=config) as writer:
        writer.write(admissions_as_events(made))
        writer.accounting.line("rows", "row", 180)
        writer.accounting.accept("rows", "row", 180)
    dataset = Dataset.open(tmp_path / "d")
    assert len(dataset.shards()) > 1
    seen = []
    labels, counts = label_dataset(dataset, TASKS, progress=lambda done, of: seen.append((done, of)))[
        "readmission_30d"
    ]
    # two readmissions each; the last stay ends on day 49 + i, followed for 30 days only while i <= 11
    assert (counts.positive, counts.negative, sum(counts.absent.values())) == (60, 12, 18)
    assert labels["subject_id"].to_pylist() == sorted(labels["subject_id"].to_pylist())
    assert seen[-1] == (30, 30)


def test_labels_of_no_subjects_are_empty():
    for table, counts in label_subjects([], TASKS, None).values():
        assert (table.num_rows, counts.subjects) == (0, 0)
        assert isinstance(table, pa.Table)
