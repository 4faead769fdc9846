"""`manifest.json`: what a dataset holds, what it was made from, and the SHA-256 of every file."""

import hashlib
import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chartscan.errors import DataError
from chartscan.files import MANIFEST, sha256

FORMAT = 1


def file_table(folder: Path) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of every file below `folder` but the manifest, by relative path."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return {
        f: {"sha256": sha256(folder / f), "bytes": (folder / f).stat().st_size}
        for f in files
        if f != MANIFEST
    }


def fingerprint(files: dict[str, dict[str, Any]]) -> str:
    """One SHA-256 for the content of all files: equal for equal data, whenever it was written."""
    lines = "".join(f"{files[name]['sha256']}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest of the finished `folder`; `facts` are source, settings, accounting, counts, ..."""
    files = file_table(folder)
    content = {
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("chartscan", "meds", "pyarrow", "duckdb")},
        "fingerprint": fingerprint(files),
        **facts,
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset; DataError with the remedy when there is none that can be read."""
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(
            f"{folder}: no {MANIFEST}. Expected a dataset written by chartscan; a MEDS dataset from "
            "elsewhere is taken in with: chartscan ingest meds FOLDER OUT"
        )
    try:
        content = json.loads(path.read_bytes())
        found = content["format"]
    except (ValueError, KeyError, TypeError) as err:
        raise DataError(f"{path}: not a manifest that can be read. Ingest the data again.") from err
    if found != FORMAT:
        raise DataError(f"{path}: format {found}, expected {FORMAT}. Ingest the data again.")
    return content
