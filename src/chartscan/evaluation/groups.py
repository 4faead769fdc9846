"""Subgroups by age band and sex, and how well a model does in each.

Rows of a group table add up to the whole: rows whose attribute is unknown form their own group. Counts below
10 are suppressed, and with one suppressed count the next smallest too, since the total would give it away.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chartscan.evaluation.bootstrap import (
    Answers,
    Samples,
    bootstrap,
    estimate,
    ranked_statistics,
    summed_statistics,
    values,
)
from chartscan.evaluation.compare import Keys, Resampled
from chartscan.evaluation.result import Estimate, Group
from chartscan.metrics.calibration import OBSERVED_EXPECTED
from chartscan.store.dataset import Dataset

AGE_BANDS = (18, 45, 65, 80)
UNKNOWN = "unknown"
_COLUMNS = ["subject_id", "time", "code", "event_type"]
SMALLEST_CELL = 10
FEWEST_EVENTS = 100  # below, an estimate would look more exact than it is
GAP = 0.05
SHOWN = ("auroc", "average_precision", "observed_expected")
ROW_KEYS = ("subject_id", "prediction_time")


def groups_of(dataset: Dataset, labels: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return by task: subject_id, prediction_time, age band at that time, and sex."""
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


def group_results(
    attributes: pa.Table, keys: Keys, answers: Answers, whole: Resampled, seed: int
) -> list[Group]:
    """Return one row per value of each attribute.

    An attribute is any column of `attributes` beside subject and time. `attributes` says what was true at the
    prediction time; predictions it does not name are "unknown". `whole` holds the resamples of all rows,
    drawn with `seed`, so that gaps are paired.
    """
    found = []
    for name in attributes.column_names:
        if name not in ROW_KEYS:
            found += _one_attribute(name, _membership(attributes, name, keys), keys, answers, whole, seed)
    return found


def _membership(attributes: pa.Table, name: str, keys: Keys) -> NDArray[np.str_]:
    """The group (n,) of each prediction."""
    times = attributes["prediction_time"].cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
    rows = zip(attributes["subject_id"].to_pylist(), times, strict=True)
    known = dict(zip(rows, attributes[name].cast(pa.string()).to_pylist(), strict=True))
    return np.array([known.get(tuple(key)) or UNKNOWN for key in keys.tolist()], dtype=np.str_)


def _one_attribute(name, member, keys, answers, whole, seed) -> list[Group]:
    groups = np.unique(member)
    counts = np.array([np.count_nonzero(member == g) for g in groups])
    events = np.array([np.count_nonzero(answers.labels[member == g]) for g in groups])
    small = hidden(counts, np.zeros(len(groups), dtype=bool))
    few = hidden(events, small) | hidden(counts - events, small)
    _, subjects = np.unique(keys[:, 0], return_inverse=True)
    found = []
    for k, group in enumerate(groups):
        status = _status(counts[k], events[k], bool(small[k]))
        shown: dict[str, Estimate | None] = dict.fromkeys((*SHOWN, "gap"))
        if status == "shown":
            shown |= _estimates(member == group, subjects, answers, whole, seed)
        n, n_events = (None if small[k] else int(counts[k])), (None if few[k] else int(events[k]))
        found.append(Group(name, str(group), status, n, n_events, **shown, flagged=_is_gap(shown["gap"])))
    return found


def hidden(counts: NDArray[np.int64], always: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which counts to suppress: 1 to 9, and those in `always`.

    Where only one count would be suppressed, one more is, so that it cannot be computed.
    """
    mask = always | ((counts > 0) & (counts < SMALLEST_CELL))
    if np.count_nonzero(mask) == 1 and len(counts) > 1:
        mask[np.argmin(np.where(mask, np.iinfo(np.int64).max, counts))] = True
    return mask


def _status(count: int, events: int, suppressed: bool) -> str:
    if suppressed:
        return "suppressed"
    if events in (0, count):
        return "not estimable"
    return "insufficient" if min(events, count - events) < FEWEST_EVENTS else "shown"


def _estimates(inside, subjects, answers: Answers, whole: Resampled, seed: int) -> dict[str, Estimate]:
    """AUROC, average precision, O:E and gap of the rows `inside`, on the resamples of all rows."""
    rows = Answers(answers.labels[inside], answers.probabilities[inside], None)
    count, replicates = int(subjects.max()) + 1, len(whole.samples["auroc"])
    ranked = ranked_statistics(rows.labels, rows.probabilities, subjects[inside])
    summed = summed_statistics(rows, subjects[inside], count, (OBSERVED_EXPECTED,))
    value = values(ranked, count) | values(summed, count)
    samples: Samples = bootstrap(ranked, count, replicates, seed) | bootstrap(summed, count, replicates, seed)
    gap = samples["auroc"] - whole.samples["auroc"]
    return {
        **{name: estimate(value[name], samples[name]) for name in SHOWN},
        "gap": estimate(value["auroc"] - whole.values["auroc"], gap),
    }


def _is_gap(gap: Estimate | None) -> bool:
    if gap is None or gap.value is None or gap.low is None or gap.high is None:
        return False
    return abs(gap.value) > GAP and (gap.low > 0 or gap.high < 0)
