"""A job's own division of subjects: the one answer to who teaches, tunes and is held out."""

import numpy as np
import pyarrow as pa
import pytest

from chartscan.errors import ConfigError
from chartscan.recipes import find_recipe
from chartscan.runs.work import identity
from icu import TASK, job, make_icu


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_icu(tmp_path_factory.mktemp("icu") / "data", subjects=40)


def division(*sizes):
    ends = np.cumsum(sizes)
    return dict(
        zip(("train", "tuning", "held_out"), np.split(np.arange(1, ends[-1] + 1), ends[:-1]), strict=True)
    )


def test_without_a_division_the_datasets_split_holds(dataset, tmp_path):
    for split in ("train", "tuning", "held_out"):
        np.testing.assert_array_equal(job(dataset, tmp_path).subjects(split), dataset.subject_ids(split))


def test_events_and_labels_are_those_of_the_divisions_subjects(dataset, tmp_path):
    one = job(dataset, tmp_path, division=division(5, 1, 0))
    for split, ids in one.division.items():
        events = pa.concat_tables(one.tables(split))
        np.testing.assert_array_equal(np.unique(events["subject_id"].to_numpy()), ids)
        np.testing.assert_array_equal(one.labels_of(TASK, split)["subject_id"].to_numpy(), ids)


def test_nobody_is_in_two_splits(dataset, tmp_path):
    twice = division(5, 3, 2) | {"tuning": np.array([5, 6])}
    with pytest.raises(ConfigError, match="1 subjects would be in two splits"):
        job(dataset, tmp_path, division=twice)


def test_another_division_is_another_run(dataset, tmp_path):
    one, other, same = (
        identity(job(dataset, tmp_path, division=d), find_recipe("gru"))
        for d in (division(5, 3, 2), division(4, 4, 2), division(5, 3, 2))
    )
    assert one == same != other
