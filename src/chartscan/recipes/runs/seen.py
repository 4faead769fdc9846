"""Which subjects a model has learned from: so that nobody it has seen is taken for held out.

Kept in the run record as salted 40-bit hashes: enough to notice an overlap with another dataset or another
split of the same patients (two different subjects agree once in 10^12), of no use for finding a patient.
"""

import base64
import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from chartscan.recipes.runs.job import Job
from chartscan.schema import TRAIN, TUNING

_BYTES = 5


def seen_record(job: Job, before: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """The subjects of train and tuning, after those of the run `before` that this one started from."""
    salt = os.urandom(16)
    ids = np.concatenate([job.subjects(split) for split in (TRAIN, TUNING)])
    hashes = b"".join(sorted(_hash(salt, int(subject)) for subject in ids))
    own = {"salt": salt.hex(), "subjects": base64.b64encode(hashes).decode()}
    return [*(before or {}).get("seen", []), own]


def seen(run: Mapping[str, Any], subject_ids: np.ndarray) -> int:
    """How many of `subject_ids` the run has learned from, directly or through what it started from."""
    found: set[int] = set()
    for record in run.get("seen", []):
        salt, packed = bytes.fromhex(record["salt"]), base64.b64decode(record["subjects"])
        known = {packed[i : i + _BYTES] for i in range(0, len(packed), _BYTES)}
        found |= {int(subject) for subject in subject_ids if _hash(salt, int(subject)) in known}
    return len(found)


def _hash(salt: bytes, subject_id: int) -> bytes:
    return hashlib.blake2b(subject_id.to_bytes(8, "big", signed=True), digest_size=_BYTES, key=salt).digest()
