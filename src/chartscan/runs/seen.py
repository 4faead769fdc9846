"""What a run must tell of its data, and which subjects a model has seen."""

import base64
import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.errors import DataError
from chartscan.notes import Note, notes_in
from chartscan.runs.job import Job
from chartscan.schema import TRAIN, TUNING
from chartscan.site_key import OPEN, fingerprint, site_key
from chartscan.store.dataset import Dataset

UNKNOWN_ABOVE = 0.05  # share of the records of a thing that tasks depend on
WORDS = 5  # named in a note


def dataset_notes(dataset: Dataset) -> list[Note]:
    """What whoever trains, predicts or evaluates on the dataset must know of it."""
    manifest = dataset.manifest
    warnings = manifest.get("accounting", {}).get("warnings", [])
    return [
        *_recognition(manifest.get("recognition") or {}),
        *_follow_up(dataset.follow_up),
        *(Note("ingest", str(text)) for text in warnings),
        *notes_in(manifest),
    ]


def _recognition(things: Mapping[str, Mapping[str, Any]]) -> Iterator[Note]:
    for thing, counts in things.items():
        unknown = counts.get("unknown", 0)
        total = unknown + counts.get("recognised", 0) + counts.get("mapped", 0)
        if total and unknown > UNKNOWN_ABOVE * total:
            words = [word for word in counts.get("words", []) if word["how"] == "unknown"][:WORDS]
            named = ", ".join(f"{word['word']} ({word['records']:,})" for word in words)
            yield Note(
                "unrecognised_words",
                f"{thing.replace('_', ' ')}: {unknown:,} of {total:,} records ({unknown / total:.1%}) have a "
                f"word that is not recognised: {named}. Declare what they mean: chartscan ingest ... --site.",
            )


def _follow_up(rule: Mapping[str, Any]) -> Iterator[Note]:
    nothing = rule.get("rule") == "days_after_last_event" and not rule.get("days")
    if nothing or rule.get("rule") in (None, "unknown"):
        yield Note(
            "follow_up_not_known",
            "The end of follow-up is unknown. Outcomes that were not seen are unknown, unless a later record "
            "rules them out. Set it when ingesting: --follow-up-end or --follow-up-days.",
        )


# Subjects used for training must not be evaluated as held_out. The run record keeps salted 40-bit hashes
# under the site's key: enough to find an overlap between datasets or splits (two subjects collide once in
# 10^12), and useless without the key. Two hospitals may both have a patient "1", so a hash of id and birth
# date is kept as well. If most subjects of a known id have another birth date, the dataset is of other
# people.

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


class _Seen(msgspec.Struct, frozen=True):
    salt: str  # hexadecimal
    subjects: str  # hashes of _BYTES bytes, base64
    key: str = OPEN  # fingerprint of the site key
    persons: str | None = None  # hashes of id and birth date


def seen_record(job: Job, before: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """Return train and tuning subjects, after those of the run `before`, if any."""
    salt = os.urandom(16)
    ids = np.concatenate([job.subjects(split) for split in (TRAIN, TUNING)])
    key, births = site_key(), births_of(job.dataset, ids)
    own = _Seen(
        salt.hex(),
        _packed(_hash(key, salt, subject) for subject in ids.tolist()),
        fingerprint(),
        _packed(_hash(key, salt, subject, births[subject]) for subject in births),
    )
    return [*(before or {}).get("seen", []), msgspec.to_builtins(own)]


def seen(run: Mapping[str, Any], subject_ids: np.ndarray, births: Births | None = None) -> int:
    """Return how many `subject_ids` were used in training, or in its start.

    By id alone without `births`. With them, those of a known id and another birth date do not count, unless
    they are the minority of those of known ids: then their birth dates were corrected in the same hospital.
    Warns where a part of that cannot be known, since it was noted under the key of another site. DataError
    where the run's record of it is damaged.
    """
    found: set[int] = set()
    records = _records(run)
    for record in records:
        if _elsewhere(record):
            continue
        key = b"" if record.key == OPEN else site_key()
        salt, known = bytes.fromhex(record.salt), _unpacked(record.subjects)
        same_id = {subject for subject in subject_ids.tolist() if _hash(key, salt, subject) in known}
        found |= _same_people(same_id, key, salt, record.persons, births)
    if any(map(_elsewhere, records)):
        warnings.warn(
            "The model was trained under another site key: whether these subjects were used to train it "
            "is unknown. Name that key's file with CHARTSCAN_SITE_KEY if you have it.",
            stacklevel=2,
        )
    return len(found)


def seen_facts(run: Mapping[str, Any], asked: pa.Table, dataset: Dataset) -> dict[str, int | None]:
    """Return counts of subjects predicted and of those used in training.

    None: unknown. `other_people` have the id of a subject that it learned from, and another birth date.
    """
    subjects = np.unique(asked["subject_id"].to_numpy())
    records = _records(run)
    if not records or any(map(_elsewhere, records)):
        return {"subjects": len(subjects), "seen": None, "other_people": None}
    known = seen(run, subjects, births_of(dataset, subjects))
    return {"subjects": len(subjects), "seen": known, "other_people": seen(run, subjects) - known}


def _elsewhere(record: _Seen) -> bool:
    """Whether a record was made under the key of another site."""
    return record.key not in (OPEN, fingerprint())


def _records(run: Mapping[str, Any]) -> list[_Seen]:
    try:
        records = msgspec.convert(run.get("seen", []), list[_Seen])
        for record in records:
            packed = [record.subjects, *([] if record.persons is None else [record.persons])]
            whole = all(len(base64.b64decode(p, validate=True)) % _BYTES == 0 for p in packed)
            if len(bytes.fromhex(record.salt)) > 64 or not whole:
                raise ValueError("not hashes")
    except ValueError as err:
        raise DataError(
            "run.json: the record of the subjects seen is damaged. Train the model again."
        ) from err
    return records


def _same_people(
    same_id: set[int], key: bytes, salt: bytes, persons: str | None, births: Births | None
) -> set[int]:
    """Those of the subjects of known ids that are the people the run learned from."""
    if births is None or persons is None:
        return same_id
    known = _unpacked(persons)
    dated = {subject for subject in same_id if subject in births}
    same = {subject for subject in dated if _hash(key, salt, subject, births[subject]) in known}
    return same_id if 2 * len(same) >= len(dated) else same


def _packed(hashes: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(hashes))).decode()


def _unpacked(packed: str) -> set[bytes]:
    raw = base64.b64decode(packed)
    return {raw[i : i + _BYTES] for i in range(0, len(raw), _BYTES)}


def _hash(key: bytes, salt: bytes, subject_id: int, birth: int | None = None) -> bytes:
    """Under the salt, and under the site's key where there is one."""
    told = subject_id.to_bytes(8, "big", signed=True)
    told += b"" if birth is None else birth.to_bytes(4, "big", signed=True)
    if key:
        return hashlib.blake2b(salt + told, digest_size=_BYTES, key=key).digest()
    return hashlib.blake2b(told, digest_size=_BYTES, key=salt).digest()
