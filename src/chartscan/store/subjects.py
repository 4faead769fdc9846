"""Which patient of the source is which subject, and which subject is in which split."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.errors import DataError
from chartscan.schema import HELD_OUT, TRAIN, TUNING, check
from chartscan.site_key import is_open, site_key

# The split is a keyed hash of the subject id, so adding or removing subjects does not move the others.

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def assign_split(subject_ids: np.ndarray, seed: int, fractions: tuple[float, float, float]) -> np.ndarray:
    """Split name of each subject, shape (n,); `fractions` are those of train, tuning and held_out."""
    key = _splitmix64(np.array([seed], np.int64).view(np.uint64))
    hashed = _splitmix64(np.asarray(subject_ids, np.int64).view(np.uint64) ^ key)
    uniform = (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53  # in [0, 1)
    bounds = np.cumsum(fractions[:2])
    return np.array([TRAIN, TUNING, HELD_OUT])[np.searchsorted(bounds, uniform, side="right")]


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators": a bijective mixer."""
    z = x + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


# A subject id is a 63-bit hash of (source, patient id) under the site's key: always the same at the site, and
# unguessable. Two patients that collide are an error, not a merge. An encounter id is a 128-bit hash under
# the same key; among 10^9 encounters two are equal with a probability of 10^-21, so this is not checked.

SUBJECTS = pa.schema(
    [
        pa.field("patient_id", pa.string(), nullable=False),
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("merged_into", pa.string()),  # patient_id of the record that replaced this one
    ]
)


def subject_id_of(source: str, patient_id: str) -> int:
    """The 63-bit subject id of a patient; `source` keeps equal ids of two hospitals apart.

    ConfigError where the site's key cannot be used.
    """
    hashed = hashlib.blake2b(f"{source}\x00{patient_id}".encode(), digest_size=8, key=site_key()).digest()
    return int.from_bytes(hashed) >> 1


_OF_ENCOUNTERS = b"encounter"  # keeps these hashes apart from all others under the key


def encounter_ids(source_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return encounter ids of a dataset: equal where the source's are, null kept.

    The source's own where ids are open. ConfigError where the site's key cannot be used.
    """
    key = site_key()
    if not key:
        return source_ids
    return pa.chunked_array([_encounter_ids(chunk, key) for chunk in source_ids.chunks], pa.string())


def _encounter_ids(source_ids: pa.Array, key: bytes) -> pa.Array:
    repeated = source_ids.dictionary_encode()
    hashed = [
        hashlib.blake2b(one.encode(), digest_size=16, key=key, person=_OF_ENCOUNTERS).hexdigest()
        for one in repeated.dictionary.to_pylist()
    ]
    return pa.array(hashed, pa.string()).take(repeated.indices)


def subject_map(tables: list[pa.Table]) -> pa.Table:
    """SUBJECTS rows without repeats, sorted by patient id; DataError when ids contradict each other."""
    rows = pa.concat_tables([check(t, SUBJECTS, "subjects").replace_schema_metadata() for t in tables])
    rows = rows.group_by(SUBJECTS.names).aggregate([]).sort_by("patient_id").select(SUBJECTS.names)
    twice = _repeated(rows["patient_id"])
    own = rows.filter(pc.is_null(rows["merged_into"]))
    collided = _repeated(own["subject_id"])
    if twice or collided:
        raise DataError(
            f"subjects: {twice} patient ids with more than one subject id, {collided} subject ids shared by "
            "different patients. Give the source another name, or mark merged patients as merged_into."
        )
    return rows.cast(SUBJECTS)


def _repeated(column: pa.ChunkedArray) -> int:
    return len(column) - pc.count_distinct(column).as_py()


def identity_map(subject_ids: np.ndarray) -> pa.Table:
    """SUBJECTS rows for a source whose patients are known by their subject ids only."""
    ids = pa.array(subject_ids, pa.int64())
    return pa.table([ids.cast(pa.string()), ids, pa.nulls(len(ids), pa.string())], schema=SUBJECTS)


def without_patients(subjects: pa.Table) -> pa.Table:
    """Return a dataset's SUBJECTS: all columns where ids are open, else ids alone."""
    return subjects if is_open() else subjects.select(["subject_id"]).group_by("subject_id").aggregate([])
