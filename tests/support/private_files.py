"""Which files that commands write of subjects others than their owner could read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq

MARKS = (b'"subject_id"', b'"subject"')  # of JSON, and of the pages that hold it


@contextmanager
def files_for_everybody() -> Iterator[None]:
    """What is written here is readable by others unless it is made private."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def files_of_subjects(root: Path) -> tuple[list[str], list[str]]:
    """Files below `root` that name subjects: those for their owner alone, and those that others can read."""
    private, readable = [], []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        if _names_subjects(path):
            (readable if _readable(path, root) else private).append(str(path.relative_to(root)))
    return private, readable


def _names_subjects(path: Path) -> bool:
    if path.suffix == ".parquet":
        return "subject_id" in pq.read_schema(path).names
    content = path.read_bytes()
    return any(mark in content for mark in MARKS)


def _readable(path: Path, root: Path) -> bool:
    within = [folder for folder in path.parents if folder.is_relative_to(root) and folder != root]
    return bool(path.stat().st_mode & 0o077) and all(folder.stat().st_mode & 0o077 for folder in within)
