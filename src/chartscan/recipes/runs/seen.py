"""Which subjects a model has learned from: so that nobody it has seen is taken for held out.

Kept in the run record as salted 40-bit hashes under the site's key: enough to notice an overlap with another
dataset or another split of the same patients (two different subjects agree once in 10^12). Without the key
they tell nothing, neither which subjects were seen nor whether a known one was.
"""

import base64
import hashlib
import os
import warnings
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from chartscan.errors import DataError
from chartscan.recipes.runs.job import Job
from chartscan.schema import TRAIN, TUNING
from chartscan.site_key import OPEN, fingerprint, site_key

_BYTES = 5


class _Seen(msgspec.Struct, frozen=True):
    salt: str  # hexadecimal
    subjects: str  # hashes of _BYTES bytes, base64
    key: str = OPEN  # fingerprint of the site key


def seen_record(job: Job, before: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """The subjects of train and tuning, after those of the run `before` that this one started from."""
    salt = os.urandom(16)
    ids = np.concatenate([job.subjects(split) for split in (TRAIN, TUNING)])
    hashes = b"".join(sorted(_hash(site_key(), salt, int(subject)) for subject in ids))
    own = _Seen(salt.hex(), base64.b64encode(hashes).decode(), fingerprint())
    return [*(before or {}).get("seen", []), msgspec.to_builtins(own)]


def seen(run: Mapping[str, Any], subject_ids: np.ndarray) -> int:
    """How many of `subject_ids` the run has learned from, directly or through what it started from.

    Warns where a part of that cannot be known, since it was noted under the key of another site. DataError
    where the run's record of it is damaged.
    """
    found: set[int] = set()
    elsewhere = False
    for record in _records(run):
        if record.key not in (OPEN, fingerprint()):
            elsewhere = True
            continue
        key = b"" if record.key == OPEN else site_key()
        salt, packed = bytes.fromhex(record.salt), base64.b64decode(record.subjects)
        known = {packed[i : i + _BYTES] for i in range(0, len(packed), _BYTES)}
        found |= {int(subject) for subject in subject_ids if _hash(key, salt, int(subject)) in known}
    if elsewhere:
        warnings.warn(
            "The model was trained under another site key: whether it has learned from these subjects is "
            "not known. Name that key's file with CHARTSCAN_SITE_KEY if you have it.",
            stacklevel=2,
        )
    return len(found)


def _records(run: Mapping[str, Any]) -> list[_Seen]:
    try:
        records = msgspec.convert(run.get("seen", []), list[_Seen])
        for record in records:
            if (
                len(bytes.fromhex(record.salt)) > 64
                or len(base64.b64decode(record.subjects, validate=True)) % _BYTES
            ):
                raise ValueError("not hashes")
    except ValueError as err:
        raise DataError(
            "run.json: the record of the subjects seen is damaged. Train the model again."
        ) from err
    return records


def _hash(key: bytes, salt: bytes, subject_id: int) -> bytes:
    """Under the salt, and under the site's key where there is one."""
    content = subject_id.to_bytes(8, "big", signed=True)
    if key:
        return hashlib.blake2b(salt + content, digest_size=_BYTES, key=key).digest()
    return hashlib.blake2b(content, digest_size=_BYTES, key=salt).digest()
