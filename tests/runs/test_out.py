"""Results are never written over what they are made from."""

import pytest

from chartscan.errors import ConfigError
from chartscan.runs.work import check_apart


def test_an_input_or_a_place_within_one_is_refused(tmp_path):
    labels, run = tmp_path / "labels.parquet", tmp_path / "run"
    run.mkdir()
    for out in (labels, run / "model.json", run, tmp_path / "run" / ".." / "labels.parquet"):
        with pytest.raises(ConfigError, match="read, not written"):
            check_apart(out, None, labels, run)


def test_a_link_to_an_input_is_the_input(tmp_path):
    (tmp_path / "labels.parquet").touch()
    (tmp_path / "link").symlink_to(tmp_path / "labels.parquet")
    with pytest.raises(ConfigError):
        check_apart(tmp_path / "link", tmp_path / "labels.parquet")


def test_places_beside_an_input_are_free(tmp_path):
    check_apart(tmp_path / "run-2", tmp_path / "run", tmp_path / "run.parquet", None)
