"""Forty strings that no person may ever read outside of the dataset, planted all over a simulated export.

Codes and their displays are a vocabulary, not records: they may be shown. Names, identifiers, contacts,
notes, free text and narrative may not, nor may ids of patients.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MARK = "Canary"
NUMBER = "RecordNumber"  # how those of patients and encounters begin
HOLDS_CONTENT = (".quarantine", ".quarantine.failed")


class Planter:
    """Gives new canaries and remembers them."""

    def __init__(self, seed: int = 0):
        self.random = np.random.default_rng(seed)
        self.canaries: list[str] = []

    def new(self) -> str:
        """A string that is nowhere else, of letters and digits, so that no escaping hides it."""
        letters = "".join(self.random.choice(list("bcdfghjkmnpqrstvwxz"), 10))
        self.canaries.append(f"{MARK}{len(self.canaries):02d}{letters}")
        return self.canaries[-1]

    def plant(self, export: Path) -> None:
        """In two resources of every type, in every field that people write in, and in broken lines."""
        for path in sorted(export.glob("*.ndjson")):
            lines = path.read_text().splitlines()
            for at in self.random.choice(len(lines), min(2, len(lines)), replace=False):
                resource = json.loads(lines[at])
                lines[at] = json.dumps(resource | self._fields(resource))
            path.write_bytes("\n".join(lines).encode() + b"\n" + b"".join(self._broken(path.stem)))

    def _fields(self, resource: dict[str, Any]) -> dict[str, Any]:
        div = f"<div xmlns='http://www.w3.org/1999/xhtml'>{self.new()}</div>"
        common = {
            "identifier": [{"system": "urn:oid:1.2.3", "value": self.new()}],
            "text": {"status": "generated", "div": div},
            "extension": [*resource.get("extension", []), {"url": "urn:x", "valueString": self.new()}],
        }
        return common | getattr(self, f"_{resource['resourceType'].lower()}", self._noted)(resource)

    def _noted(self, resource: dict[str, Any]) -> dict[str, Any]:
        return {"note": [{"text": self.new(), "authorString": self.new()}]}

    def _patient(self, resource: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": [{"family": self.new(), "given": [self.new()], "text": self.new()}],
            "telecom": [{"system": "phone", "value": self.new()}],
            "address": [{"line": [self.new()], "city": self.new(), "postalCode": self.new()}],
            "contact": [{"name": {"family": self.new()}, "telecom": [{"value": self.new()}]}],
            "photo": [{"title": self.new(), "data": "QUJD"}],
            "generalPractitioner": [{"display": self.new()}],
        }

    def _encounter(self, resource: dict[str, Any]) -> dict[str, Any]:
        return {
            "participant": [{"individual": {"display": self.new()}}],
            "location": [{"location": {"display": self.new()}}],
            "reasonCode": [{"text": self.new()}],
            "serviceProvider": {"display": self.new()},
        }

    def _observation(self, resource: dict[str, Any]) -> dict[str, Any]:
        plain = {key: None for key in resource if key.startswith("value")}
        more = {"performer": [{"display": self.new()}], "valueString": f"seen by {self.new()}"}
        return dict.fromkeys(plain) | more | self._noted(resource)

    def _medicationrequest(self, resource: dict[str, Any]) -> dict[str, Any]:
        return {"dosageInstruction": [{"text": self.new()}], "requester": {"display": self.new()}}

    def _broken(self, kind: str) -> Iterator[bytes]:
        """Lines that cannot be used: cut, of no known shape, no text, with impossible times."""
        yield f'{{"resourceType": "{kind}", "id": "{self.new()}\n'.encode()
        yield f'["{self.new()}"]\n'.encode()
        yield b'{"resourceType": "' + kind.encode() + b'", "id": "\xff' + self.new().encode() + b'"}\n'
        wrong = {"resourceType": kind, "id": self.new(), "birthDate": self.new(), "issued": self.new()}
        period = {"period": {"start": self.new()}, "recordedDate": self.new(), "subject": {"reference": 7}}
        yield json.dumps(wrong | period).encode() + b"\n"


def give_numbers(export: Path) -> None:
    """Gives every patient and encounter of an export a record number, as hospitals do."""
    for name in ("Patient", "Encounter"):
        path = export / f"{name}.ndjson"
        resources = map(json.loads, path.read_text().splitlines())
        numbered = (
            one | {"identifier": [{"system": "urn:mrn", "value": f"{NUMBER}{one['id'][::-1]}"}]}
            for one in resources
        )
        path.write_text("".join(json.dumps(one) + "\n" for one in numbered))


def found_in(text: str, canaries: list[str]) -> list[str]:
    """Which canaries a text holds."""
    return [canary for canary in canaries if canary in text]


def found_below(root: Path, apart: tuple[Path, ...], canaries: list[str]) -> dict[str, list[str]]:
    """Canaries in names and contents of all files below `root`, but for folders that may hold records."""
    found = {}
    for path in sorted(root.rglob("*")):
        held = any(path.is_relative_to(folder) for folder in apart) or any(
            part.endswith(HOLDS_CONTENT) for part in path.relative_to(root).parts
        )
        if path.is_file() and not held:
            hits = found_in(path.name + _content(path), canaries)
            if hits:
                found[str(path.relative_to(root))] = hits
    return found


def _content(path: Path) -> str:
    content = path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        content += str([_values(column) for column in table.columns]) + str(table.schema.metadata)
    return content


def _values(column: pa.ChunkedArray) -> list[Any]:
    """What stands in a column, of plain values each once."""
    return (column if pa.types.is_nested(column.type) else column.unique()).to_pylist()
