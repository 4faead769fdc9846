"""The `metadata/` folder of a dataset: codes, subjects, splits and the description MEDS asks for."""

import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chartscan.schema import EVENTS, SPLITS
from chartscan.site_key import is_open
from chartscan.store.writing import writing

CODES = pa.schema(
    [
        pa.field("code", pa.string(), nullable=False),
        pa.field("description", pa.string()),
        pa.field("parent_codes", pa.list_(pa.string())),
        pa.field("event_count", pa.int64(), nullable=False),
        pa.field("subject_count", pa.int64(), nullable=False),
    ]
)


class CodeBook:
    """Descriptions and parents of codes, gathered while reading; their order of arrival does not matter."""

    def __init__(self) -> None:
        self._descriptions: dict[str, str] = {}
        self._parents: dict[str, set[str]] = {}

    def add(self, code: str, description: str | None, parents: Iterable[str] | None) -> None:
        """Of several descriptions of a code the first in the order of text is kept; parents are united."""
        if description:
            self._descriptions[code] = min(description, self._descriptions.get(code, description))
        if parents:
            self._parents.setdefault(code, set()).update(parents)

    def table(self, counts: pa.Table) -> pa.Table:
        """CODES rows for exactly the codes of `counts` (code, event_count, subject_count)."""
        codes = counts["code"].to_pylist()
        descriptions = pa.array([self._descriptions.get(c) for c in codes], pa.string())
        parents = [sorted(self._parents[c]) if c in self._parents else None for c in codes]
        columns = [counts["code"], descriptions, pa.array(parents, pa.list_(pa.string()))]
        return pa.table([*columns, counts["event_count"], counts["subject_count"]], schema=CODES)


def write_codes(folder: Path, codes: pa.Table) -> None:
    """`metadata/codes.parquet`."""
    meds.CodeMetadataSchema.validate(codes)
    _write(codes, folder / meds.code_metadata_filepath)


def write_splits(folder: Path, subject_ids: np.ndarray, splits: np.ndarray) -> None:
    """`metadata/subject_splits.parquet`."""
    table = pa.table([pa.array(subject_ids, pa.int64()), pa.array(splits, pa.string())], schema=SPLITS)
    meds.SubjectSplitSchema.validate(table)
    _write(table, folder / meds.subject_splits_filepath)


def write_subjects(folder: Path, subjects: pa.Table) -> None:
    """`metadata/subjects.parquet`: the subjects, and where ids are open which patient is which."""
    _write(subjects, folder / "metadata" / "subjects.parquet")


def write_description(folder: Path, source: str) -> None:
    """`metadata/dataset.json`; without a date, so that equal data gives equal files (the manifest has it)."""
    extensions = [n for n in EVENTS.names if n not in meds.DataSchema.schema().names]
    of_source = ["encounter_id"] if is_open() else []  # under a key it is none of the source's
    content = {
        "dataset_name": source,
        "etl_name": "chartscan",
        "etl_version": version("chartscan"),
        "meds_version": version("meds"),
        "raw_source_id_columns": of_source,
        "code_modifier_columns": ["unit"],
        "other_extension_columns": [n for n in extensions if n not in (*of_source, "unit")],
    }
    meds.DatasetMetadataSchema.validate(content)
    path = folder / meds.dataset_metadata_filepath
    with writing(path):
        path.write_text(json.dumps(content, indent=1) + "\n")


def _write(table: pa.Table, path: Path) -> None:
    with writing(path):
        pq.write_table(table, path)
