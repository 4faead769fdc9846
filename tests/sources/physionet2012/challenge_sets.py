"""Hand-made sets of the challenge in, readable events and counts out: shared by the tests of the source."""

import io
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from chartscan.sources import physionet2012
from chartscan.store.config import StoreConfig
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter

CASES = Path(__file__).parents[2] / "cases" / "physionet2012"
HEADER = "Time,Parameter,Value"
OUTCOME_COLUMNS = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"


class Result(NamedTuple):
    """What became of some sets."""

    dataset: Dataset
    events: list[dict[str, Any]]

    def of(self, event_type: str) -> list[dict[str, Any]]:
        """Events of one type."""
        return [e for e in self.events if e["event_type"] == event_type]

    def values(self, name: str) -> list[float]:
        """Values of one parameter."""
        return [e["numeric_value"] for e in self.events if e["code"] == f"PHYSIONET2012//{name}"]

    @property
    def subjects(self) -> list[int]:
        """All subjects, with events or without."""
        return self.dataset.subject_ids().tolist()

    def total(self, outcome: str, kind: str = "record") -> dict[str, int]:
        """Lines by reason over all files: of "filtered" (without headers) or "quarantined"."""
        found: Counter[str] = Counter()
        for row in self.dataset.manifest["accounting"]["lines"]:
            found.update(row[outcome] if row["type"] == kind else {})
        return {reason: n for reason, n in found.items() if reason != "header"}

    def sum(self, column: str, kind: str = "record") -> int:
        """Lines of one kind of a numeric column of the accounting."""
        lines = self.dataset.manifest["accounting"]["lines"]
        return sum(row[column] for row in lines if row["type"] == kind)

    @property
    def flagged(self) -> dict[str, int]:
        """Doubts, counted."""
        return self.dataset.manifest["accounting"]["flagged"]

    @property
    def normalised(self) -> dict[str, int]:
        """Changes of form, counted."""
        return self.dataset.manifest["accounting"]["normalised"]

    def quarantine(self) -> list[dict[str, Any]]:
        """The quarantine records."""
        file = self.dataset.path / "quarantine" / "records-main.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]


def record(record_id: int | str, *lines: str) -> bytes:
    """A record file."""
    return "\n".join([HEADER, f"00:00,RecordID,{record_id}", *lines, ""]).encode()


def outcomes(*rows: tuple[int, str]) -> bytes:
    """An Outcomes file of (RecordID, In-hospital_death)."""
    return "\n".join([OUTCOME_COLUMNS, *(f"{i},6,1,5,-1,{death}" for i, death in rows), ""]).encode()


def folder(root: Path, files: dict[str, bytes]) -> Path:
    """`files` by path below `root`."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tar(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def ingest(source: Path, out: Path, seed: int = 0, **settings: Any) -> Result:
    """The dataset of some sets, whatever share of their lines is unusable."""
    store = StoreConfig(error_budget=1.0, seed=seed)
    with DatasetWriter(out, source="physionet2012", config=store, overwrite=True) as writer:
        physionet2012.read(source, writer, physionet2012.Config(**settings))
    dataset = Dataset.open(out)
    rows = [row for shard in dataset.shards() for row in dataset.read_shard(shard).to_pylist()]
    return Result(dataset, rows)


def one_record(scratch: Path, content: bytes, name: str = "7") -> Result:
    """The dataset of a sound record 6 and one more."""
    files = {"set-a/6.txt": record(6, "01:00,HR,60"), f"set-a/{name}.txt": content}
    return ingest(folder(scratch / "sets", files), scratch / "out")
