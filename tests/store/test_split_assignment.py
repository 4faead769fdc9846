import hashlib

import numpy as np

from chartscan.store.subjects import assign_split, subject_id_of

FRACTIONS = (0.70, 0.15, 0.15)


def test_the_vectorised_hash_equals_the_written_one():
    def one(subject_id: int, seed: int) -> str:
        def mix(x: int) -> int:
            m = (1 << 64) - 1
            z = (x + 0x9E3779B97F4A7C15) & m
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & m
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & m
            return z ^ (z >> 31)

        u = (mix(subject_id % (1 << 64) ^ mix(seed)) >> 11) / (1 << 53)
        return "train" if u < 0.70 else "tuning" if u < 0.85 else "held_out"

    ids = np.array([0, 1, 2, 63, 2**62, 2**63 - 1, -5, *range(1000, 3000)])
    for seed in (0, 1, 12345):
        assert assign_split(ids, seed, FRACTIONS).tolist() == [one(int(i), seed) for i in ids]


def test_shares_are_as_asked_for_small_and_for_hashed_ids():
    small = np.arange(100_000)
    hashed = np.frombuffer(hashlib.shake_256(b"x").digest(800_000), np.int64)
    for ids in (small, hashed):
        names, counts = np.unique(assign_split(ids, 0, FRACTIONS), return_counts=True)
        shares = dict(zip(names.tolist(), counts / len(ids), strict=True))
        assert abs(shares["train"] - 0.70) < 0.01
        assert abs(shares["tuning"] - 0.15) < 0.01
        assert abs(shares["held_out"] - 0.15) < 0.01


def test_a_subject_stays_where_it_is_whoever_else_comes():
    ids = np.random.default_rng(0).permutation(10_000)
    whole = dict(zip(ids.tolist(), assign_split(ids, 7, FRACTIONS).tolist(), strict=True))
    some = ids[:137]
    assert assign_split(some, 7, FRACTIONS).tolist() == [whole[i] for i in some.tolist()]


def test_another_seed_is_another_and_unrelated_division():
    ids = np.arange(50_000)
    held_out = [assign_split(ids, seed, FRACTIONS) == "held_out" for seed in (0, 1)]
    both = (held_out[0] & held_out[1]).mean()
    assert abs(both - 0.15**2) < 0.005


def test_everybody_may_be_in_one_split():
    assert set(assign_split(np.arange(999), 0, (1.0, 0.0, 0.0))) == {"train"}
    assert set(assign_split(np.arange(999), 0, (0.0, 0.0, 1.0))) == {"held_out"}


def test_subject_ids_have_63_bits_and_depend_on_source_and_patient():
    ids = {subject_id_of(s, p) for s in ("a", "ab") for p in ("1", "2", "b1", "")}
    assert len(ids) == 8
    assert all(0 <= i < 2**63 for i in ids)
    assert subject_id_of("a", "b1") != subject_id_of("ab", "1")
