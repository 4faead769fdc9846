"""Age band and sex of each prediction, for the subgroup tables of a report."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.store.dataset import Dataset

AGE_BANDS = (18, 45, 65, 80)
UNKNOWN = "unknown"
_COLUMNS = ["subject_id", "time", "code", "event_type"]


def groups_of(dataset: Dataset, labels: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """By task: subject_id, prediction_time, age band at the prediction time and sex, a row a prediction."""
    facts = _facts(dataset)
    return {task: _with_groups(table, facts) for task, table in labels.items()}


def _facts(dataset: Dataset) -> pl.DataFrame:
    """Birth and sex of every subject that has them."""
    parts = []
    for path in dataset.shards():
        table = dataset.read_shard(path, _COLUMNS)
        kept = pc.or_(pc.equal(table["event_type"], "birth"), pc.starts_with(table["code"], "GENDER//"))
        parts.append(table.filter(kept))
    rows = pl.DataFrame(pa.concat_tables(parts))
    birth = (
        rows.filter(pl.col("event_type") == "birth").group_by("subject_id").agg(birth=pl.col("time").min())
    )
    sex = (
        rows.filter(pl.col("code").str.starts_with("GENDER//"))
        .group_by("subject_id")
        .agg(sex=pl.col("code").str.strip_prefix("GENDER//").min())
    )
    return birth.join(sex, on="subject_id", how="full", coalesce=True)


def _with_groups(labels: pa.Table, facts: pl.DataFrame) -> pa.Table:
    rows = pl.DataFrame(labels.select(["subject_id", "prediction_time"]))
    rows = rows.join(facts, on="subject_id", how="left", maintain_order="left")
    age = ((rows["prediction_time"] - rows["birth"]).dt.total_days() / 365.25).to_numpy()
    named = rows.select("subject_id", "prediction_time", sex=pl.col("sex").fill_null(UNKNOWN))
    return named.with_columns(pl.Series("age", _bands(age))).to_arrow()


def _bands(age: np.ndarray) -> list[str]:
    names = [f"under {AGE_BANDS[0]}"]
    names += [f"{a} to {b - 1}" for a, b in pairwise(AGE_BANDS)]
    names += [f"{AGE_BANDS[-1]} and over"]
    place = np.searchsorted(AGE_BANDS, np.nan_to_num(age), side="right")
    return [UNKNOWN if np.isnan(a) else names[p] for a, p in zip(age, place, strict=True)]
