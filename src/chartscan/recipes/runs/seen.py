"""Which subjects a model has learned from: so that nobody it has seen is taken for held out.

Kept in the run record as salted 40-bit hashes: enough to notice an overlap with another dataset or another
split of the same patients (two different subjects agree once in 10^12), of no use for finding a patient.

Two hospitals may both have a patient "1". So a hash of id and birth date is kept beside that of the id. Where
most subjects of a known id have another birth date, the dataset is taken for one of other people.
"""

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.recipes.runs.job import Job
from chartscan.schema import TRAIN, TUNING
from chartscan.store.dataset import Dataset

_BYTES = 5
Births = Mapping[int, int]  # subject -> date of birth in days since 1970; subjects without one are left out


def births_of(dataset: Dataset, subject_ids: np.ndarray) -> Births:
    """Birth dates of the subjects, where the dataset has them."""
    found: dict[int, int] = {}
    for path in dataset.shards():
        table = dataset.read_shard(path, ["subject_id", "time", "event_type"])
        rows = table.filter(pc.and_(pc.equal(table["event_type"], "birth"), pc.is_valid(table["time"])))
        days = rows["time"].to_numpy().astype("datetime64[D]").astype(np.int64)
        found |= dict(zip(rows["subject_id"].to_pylist(), days.tolist(), strict=True))
    return {subject: found[subject] for subject in subject_ids.tolist() if subject in found}


def seen_record(job: Job, before: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """The subjects of train and tuning, after those of the run `before` that this one started from."""
    salt = os.urandom(16)
    ids = np.concatenate([job.subjects(split) for split in (TRAIN, TUNING)])
    births = births_of(job.dataset, ids)
    own = {
        "salt": salt.hex(),
        "subjects": _packed(_hash(salt, subject) for subject in ids.tolist()),
        "persons": _packed(_hash(salt, subject, births[subject]) for subject in births),
    }
    return [*(before or {}).get("seen", []), own]


def seen(run: Mapping[str, Any], subject_ids: np.ndarray, births: Births | None = None) -> int:
    """How many of `subject_ids` the run has learned from, directly or through what it started from.

    By id alone without `births`. With them, those of a known id and another birth date do not count, unless
    they are the minority of those of known ids: then their birth dates were corrected in the same hospital.
    """
    found: set[int] = set()
    for record in run.get("seen", []):
        salt, known = bytes.fromhex(record["salt"]), _unpacked(record["subjects"])
        same_id = {subject for subject in subject_ids.tolist() if _hash(salt, subject) in known}
        found |= _same_people(same_id, salt, record.get("persons"), births)
    return len(found)


def seen_facts(run: Mapping[str, Any], asked: pa.Table, dataset: Dataset) -> dict[str, int | None]:
    """How many subjects are asked about, and how many of them the run learned from; None: not known.

    `other_people` have the id of a subject that it learned from, and another birth date.
    """
    subjects = np.unique(asked["subject_id"].to_numpy())
    if not run.get("seen"):
        return {"subjects": len(subjects), "seen": None, "other_people": None}
    known = seen(run, subjects, births_of(dataset, subjects))
    return {"subjects": len(subjects), "seen": known, "other_people": seen(run, subjects) - known}


def _same_people(same_id: set[int], salt: bytes, persons: str | None, births: Births | None) -> set[int]:
    """Those of the subjects of known ids that are the people the run learned from."""
    if births is None or persons is None:
        return same_id
    known = _unpacked(persons)
    dated = {subject for subject in same_id if subject in births}
    same = {subject for subject in dated if _hash(salt, subject, births[subject]) in known}
    return same_id if 2 * len(same) >= len(dated) else same


def _packed(hashes: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(hashes))).decode()


def _unpacked(packed: str) -> set[bytes]:
    raw = base64.b64decode(packed)
    return {raw[i : i + _BYTES] for i in range(0, len(raw), _BYTES)}


def _hash(salt: bytes, subject_id: int, birth: int | None = None) -> bytes:
    told = subject_id.to_bytes(8, "big", signed=True)
    told += b"" if birth is None else birth.to_bytes(4, "big", signed=True)
    return hashlib.blake2b(told, digest_size=_BYTES, key=salt).digest()
