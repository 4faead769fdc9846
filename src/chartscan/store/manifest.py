"""`manifest.json`: what a dataset holds, what it was made from, and the SHA-256 of every file.

The manifest is sealed: its last entry `sha256` is that of its own text without it, so that one changed bit,
in a file or here, is found before anything is believed.
"""

import hashlib
import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import meds

from chartscan.errors import DataError
from chartscan.files import MANIFEST, read_bytes, sha256
from chartscan.store.quarantine import QUARANTINE
from chartscan.store.writing import writing

FORMAT = 2  # since the first instants of inexact times are columns
_OURS = {"format", "fingerprint", "files"}
_SEAL = "sha256"
_AGAIN = "Ingest the data again."


def file_table(folder: Path) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of every file below `folder` but the manifest, by relative path."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return {
        f: {"sha256": sha256(folder / f), "bytes": (folder / f).stat().st_size}
        for f in files
        if f != MANIFEST
    }


def _apart(files: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The files of the dataset, and those of its quarantine, which are no part of the data."""
    within = [name for name in files if name.startswith(f"{QUARANTINE}/")]
    return {f: files[f] for f in files if f not in within}, {f: files[f] for f in within}


def fingerprint(files: dict[str, dict[str, Any]]) -> str:
    """One SHA-256 for the content of all files: equal for equal data, whenever it was written."""
    lines = "".join(f"{files[name]['sha256']}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest of the finished `folder`; `facts` are source, settings, accounting, counts, ..."""
    files, quarantine = _apart(file_table(folder))
    content = {
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("chartscan", "meds", "pyarrow", "duckdb")},
        "fingerprint": fingerprint(files),
        **facts,
        "quarantine": quarantine,
        "files": files,
    }
    with writing(folder / MANIFEST):
        (folder / MANIFEST).write_bytes(_sealed(content))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset, without its seal.

    DataError with the remedy when `folder` is something else, or a single bit is not as it was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder}: no {MANIFEST}. " + (_something_else(folder, {}) or _no_dataset()))
    raw = read_bytes(path)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not content.keys() >= _OURS:
        other = _something_else(folder, content) if isinstance(content, dict) else None
        raise DataError(f"{folder}: {other}" if other else _damaged(path))
    if content["format"] != FORMAT:
        raise DataError(f"{path}: format {content['format']}, expected {FORMAT}. {_AGAIN}")
    if not _whole(raw, content):
        raise DataError(_damaged(path))
    return {key: value for key, value in content.items() if key != _SEAL}


def _sealed(content: dict[str, Any]) -> bytes:
    return _text({**content, _SEAL: hashlib.sha256(_text(content)).hexdigest()})


def _text(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode() + b"\n"


def _whole(raw: bytes, content: dict[str, Any]) -> bool:
    """Whether the text `raw` is what was written, byte by byte, and its fingerprint that of its files."""
    unsealed = {key: value for key, value in content.items() if key != _SEAL}
    if raw != _sealed(unsealed):
        return False
    try:
        return fingerprint(content["files"]) == content["fingerprint"]
    except (KeyError, TypeError):
        return False


def _damaged(path: Path) -> str:
    return f"{path}: damaged, or not the manifest of a dataset. {_AGAIN}"


def _no_dataset() -> str:
    return "Expected a dataset written by chartscan; make one with: chartscan ingest SOURCE IN OUT"


def _something_else(folder: Path, manifest: dict[str, Any]) -> str | None:
    """What a folder that is no dataset of ours is, with the remedy; None when it cannot be told."""
    sealed_files = manifest.get(_SEAL)
    if isinstance(sealed_files, dict):
        kind = "a trained model" if "model.json" in sealed_files else "a folder of a training run"
        return f"This is {kind}, not a dataset. Give the dataset: the OUT of chartscan ingest"
    if "transactionTime" in manifest or any(folder.glob("*.ndjson*")):
        return f"This is a bulk export, not a dataset yet. Make one with: chartscan ingest fhir {folder} OUT"
    if not manifest and (folder / meds.data_subdirectory).is_dir():
        return f"This is a dataset of ours that lost it. {_AGAIN}" if _by_us(folder) else _FOREIGN
    return None


_FOREIGN = (
    "This is a MEDS dataset from elsewhere, which chartscan cannot read yet. Expected one written by "
    "chartscan ingest, from the records it was made of."
)


def _by_us(folder: Path) -> bool:
    try:
        return json.loads((folder / meds.dataset_metadata_filepath).read_bytes())["etl_name"] == "chartscan"
    except (OSError, ValueError, KeyError, TypeError):
        return False
