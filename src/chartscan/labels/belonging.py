"""Which dataset labels were made from: noted in their cohort counts, and checked before they are used."""

import msgspec
import pyarrow as pa

from chartscan.cohort import Counts
from chartscan.errors import ConfigError
from chartscan.labels.plausible import check_rows
from chartscan.notes import Notes
from chartscan.store.dataset import Dataset

KEY = "dataset"  # in Counts.settings: the dataset's fingerprint


def stamped(counts: Counts, dataset: Dataset) -> Counts:
    """The counts with the dataset they came from."""
    return msgspec.structs.replace(counts, settings=counts.settings | {KEY: dataset.fingerprint})


def check_labels(
    labels: dict[str, tuple[pa.Table, Counts | None]], dataset: Dataset, notes: Notes | None = None
) -> None:
    """Notes rows that do not fit the dataset, see `check_rows`.

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
