"""Whether labels belong to the dataset they are used with.

Labels carry the fingerprint of the dataset they were made from. Files of other tools do not, so rows
that cannot be of the dataset are counted: subjects that are not in it, times of another zone or unit.
"""

from collections.abc import Mapping

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from chartscan.errors import ConfigError, DataError
from chartscan.notes import Notes
from chartscan.schema import Counts
from chartscan.store.dataset import Dataset

KEY = "dataset"  # in Counts.settings: the dataset's fingerprint


def stamped(counts: Counts, dataset: Dataset) -> Counts:
    """The counts with the dataset they came from."""
    return msgspec.structs.replace(counts, settings=counts.settings | {KEY: dataset.fingerprint})


def check_labels(
    labels: dict[str, tuple[pa.Table, Counts | None]], dataset: Dataset, notes: Notes | None = None
) -> None:
    """Add notes on rows that do not fit the dataset, see `check_rows`.

    ConfigError for labels made from another dataset, DataError for those whose histories are all empty here.
    """
    for task, (_, counts) in labels.items():
        made_from = counts.settings.get(KEY) if counts else None
        if made_from not in (None, dataset.fingerprint):
            raise ConfigError(
                f"The labels of {task} were made from another dataset than {dataset.path}. Label this one: "
                f"chartscan label {task} {dataset.path} OUT.parquet"
            )
    tables = {task: table for task, (table, _) in labels.items()}
    check_rows(tables, dataset, Notes() if notes is None else notes)


_NO_HISTORY = ["birth", "static", "outcome"]  # of which no history consists
_COLUMNS = ["subject_id", "time", "available_time", "event_type"]


def check_rows(tables: Mapping[str, pa.Table], dataset: Dataset, notes: Notes) -> None:
    """Add a note for each task with rows that cannot belong to the dataset.

    Rows are those of LABELS, QUESTIONS or PREDICTIONS. Those are rows of subjects that are not in it, and
    times before the subject's first event, after death or after the end of follow-up. DataError where all
    histories of a task are empty.
    """
    asked = {task: _asked(table) for task, table in tables.items() if table.num_rows}
    if not asked:
        return
    subjects = np.unique(np.concatenate([frame["subject_id"].to_numpy() for frame in asked.values()]))
    lives = _lives(dataset, subjects)
    known = pl.Series("subject_id", dataset.subject_ids(), pl.Int64)
    for task, frame in asked.items():
        _note(task, frame.join(lives, on="subject_id", how="left"), known, dataset, notes)


def _asked(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(table.select(["subject_id", "prediction_time"]))


def _note(task: str, rows: pl.DataFrame, known: pl.Series, dataset: Dataset, notes: Notes) -> None:
    at = pl.col("prediction_time")
    strange = rows.filter(~pl.col("subject_id").is_in(known.implode()))
    inside = rows.filter(pl.col("subject_id").is_in(known.implode()))
    early = inside.filter(pl.col("first").is_null() | (at < pl.col("first")))
    if len(strange) + len(early) == len(rows):
        raise DataError(
            f"{task}: all {len(rows):,} histories are empty: {len(strange):,} rows are of subjects that are "
            f"not in {dataset.path}, and {len(early):,} are before the subject's first event. Name labels of "
            "this dataset, with times in UTC."
        )
    for code, count, text in (
        ("labels_of_strangers", len(strange), "are of subjects that are not in the dataset"),
        (
            "labels_before_first_event",
            len(early),
            "are before the subject's first event: the history is empty",
        ),
        ("labels_after_death", len(inside.filter(at > pl.col("death"))), "ask after the subject's death"),
        ("labels_after_follow_up", len(inside.filter(at > pl.col("end"))), "ask after the end of follow-up"),
    ):
        if count:
            notes.add(code, f"{count:,} of {len(rows):,} rows {text}.", task)


def _lives(dataset: Dataset, subjects: np.ndarray) -> pl.DataFrame:
    """Of each subject with events: when the first became known, death, and the end of follow-up."""
    found = [_lives_of_shard(dataset.read_shard(path, _COLUMNS), subjects) for path in dataset.shards()]
    empty = pl.DataFrame(
        schema={"subject_id": pl.Int64, **dict.fromkeys(("first", "death", "last"), pl.Datetime("us"))}
    )
    lives = pl.concat([empty, *found])
    from chartscan.cohort.evidence import follow_up_rule

    rule = follow_up_rule(dataset.follow_up)
    # 0 days say that nothing is known after the last event, not that the subject had left by then.
    told = rule.rule != "days_after_last_event" or rule.days > 0
    ends = [rule.end(last) if told else None for last in lives["last"].to_list()]
    return lives.with_columns(end=pl.Series(ends, dtype=pl.Datetime("us")))


def _lives_of_shard(table: pa.Table, subjects: np.ndarray) -> pl.DataFrame:
    wanted = table.filter(pa.array(np.isin(table["subject_id"].to_numpy(), subjects)))
    time, kind = pl.col("time"), pl.col("event_type")
    known = pl.coalesce("available_time", "time")
    return (
        pl.DataFrame(wanted)
        .filter(time.is_not_null())
        .group_by("subject_id", maintain_order=True)
        .agg(
            known.filter(~kind.is_in(_NO_HISTORY)).min().alias("first"),
            time.filter(kind == "death").min().alias("death"),
            time.filter(kind != "outcome").max().alias("last"),
        )
    )
