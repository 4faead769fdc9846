"""--splits: whole sets, shares of sets or shares of everything; every subject gets exactly one split."""

import numpy as np
import pytest
from challenge_sets import folder, ingest, record
from hypothesis import given
from hypothesis import strategies as st

from chartscan.commands.ingest import IngestPlan, run_ingest
from chartscan.errors import ConfigError
from chartscan.sources.physionet2012 import Config
from chartscan.sources.physionet2012.splits import parsed_splits, set_name, split_table
from chartscan.store.subjects import assign_split

SUBJECTS = {"a": np.arange(1000, 2000), "b": np.arange(2000, 3000), "c": np.arange(3000, 3063)}


def splits(text, subjects=None, seed=0):
    table = split_table(parsed_splits(text), subjects or SUBJECTS, seed)
    return dict(zip(table["subject_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def share(found, name, split):
    ids = SUBJECTS[name].tolist()
    return sum(found[i] == split for i in ids) / len(ids)


def test_whole_sets_and_shares_of_a_set():
    found = splits("train=a:0.8,tuning=a:0.2,held_out=b+c")
    assert {found[i] for i in SUBJECTS["b"].tolist() + SUBJECTS["c"].tolist()} == {"held_out"}
    assert share(found, "a", "train") + share(found, "a", "tuning") == 1
    assert share(found, "a", "train") == pytest.approx(0.8, abs=0.04)


def test_training_on_two_sets_and_holding_out_a_third():
    found = splits("train=a+b:0.8,tuning=a+b:0.2,held_out=c")
    for name in "ab":
        assert share(found, name, "tuning") == pytest.approx(0.2, abs=0.04)
    assert share(found, "c", "held_out") == 1


def test_fractions_of_everything_are_the_fractions_of_the_store():
    found = splits("train=0.7,tuning=0.15,held_out=0.15", seed=5)
    ids = np.concatenate(list(SUBJECTS.values()))
    expected = assign_split(ids, 5, (0.7, 0.15, 0.15)).tolist()
    assert [found[i] for i in ids.tolist()] == expected


def test_sets_are_named_with_or_without_set_in_any_case_and_spacing():
    short = splits("train=a:0.8,tuning=a:0.2,held_out=b+c")
    assert splits(" held_out = set-b + SET-C , tuning=A:.2, train=set-a:8e-1") == short
    assert set_name("set-") == "set-"


def test_the_seed_moves_subjects_and_nothing_else_does():
    text = "train=a:0.5,tuning=a:0.5,held_out=b+c"
    assert splits(text) != splits(text, seed=1)
    fewer = {name: ids[::3] for name, ids in SUBJECTS.items()}
    found = splits(text)
    assert splits(text, fewer) == {i: found[i] for ids in fewer.values() for i in ids.tolist()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected parts such as"),
        ("train", "expected parts such as"),
        ("test=a", "expected parts such as"),
        ("train=", "without a name"),
        ("train=a+", "without a name"),
        ("train=a:", "a share must be a number"),
        ("train=a:0", "a share must be a number"),
        ("train=a:1.5", "a share must be a number"),
        ("train=a:-0.5,tuning=a:1.5", "a share must be a number"),
        ("train=a:nan", "a share must be a number"),
        ("train=1.2", "a share must be a number"),
        ("train=a+a", "named twice"),
        ("train=a:0.5,train=set-a:0.5", "set 'a' is given twice to train"),
        ("train=a:0.8,tuning=a:0.3", "set 'a' add up to 1.1"),
        ("train=a:0.8,tuning=a:0.1", "set 'a' add up to 0.9"),
        ("train=a,held_out=a", "set 'a' add up to 2"),
        ("train=0.7,tuning=0.2", "everything add up to 0.9"),
        ("train=0.8,tuning=0.2,held_out=b", "in every part or in none"),
    ],
)
def test_splits_that_do_not_give_everybody_one_split_are_refused(text, says):
    with pytest.raises(ValueError, match=says):
        parsed_splits(text)
    with pytest.raises(ValueError, match=says):
        Config(splits=text)


def test_sets_that_are_not_there_or_not_named_are_refused():
    with pytest.raises(ConfigError, match=r"no set named d, e in the input\. Found: a, b, c"):
        splits("train=a+e,held_out=d+b")
    with pytest.raises(ConfigError, match="the set b, c has no split"):
        splits("train=a")


NAMES = ("train", "tuning", "held_out")


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=3),
    st.integers(0, 2**31),
)
def test_every_subject_gets_one_of_the_splits_named_for_its_set(weights, seed):
    wanted = dict(zip("abc", weights, strict=False))
    text = ",".join(
        f"{split}={name}:{w / sum(of_set)!r}"
        for name, of_set in wanted.items()
        for split, w in zip(NAMES, of_set, strict=False)
    )
    found = splits(text, {name: SUBJECTS[name] for name in wanted}, seed)
    for name, of_set in wanted.items():
        assert {found[i] for i in SUBJECTS[name].tolist()} <= set(NAMES[: len(of_set)])
    assert len(found) == sum(len(SUBJECTS[name]) for name in wanted)


class Silent:
    """Watches nothing."""

    def say(self, text):
        pass

    def note(self, note):
        pass

    def progress(self, title, unit):
        from contextlib import nullcontext

        return nullcontext(lambda done, total: None)


def plan(path, out, **more):
    return IngestPlan("physionet2012", path, out, [], [], **more)


def test_the_dataset_holds_the_splits_asked_for_and_random_ones_otherwise(tmp_path):
    files = {f"set-{s}/{i}.txt": record(i) for s, i in (("a", 1), ("a", 2), ("b", 3))}
    path = folder(tmp_path / "sets", files)
    dataset, _ = run_ingest(plan(path, tmp_path / "out", splits="train=a,held_out=b"), Silent())
    assert dataset.splits() == {1: "train", 2: "train", 3: "held_out"}
    assert dataset.manifest["settings"]["splits"] == "train=a,held_out=b"
    drawn = ingest(path, tmp_path / "random", seed=3).dataset.splits()
    assert list(drawn.values()) == assign_split(np.array([1, 2, 3]), 3, (0.70, 0.15, 0.15)).tolist()


def test_wrong_splits_publish_nothing(tmp_path):
    path = folder(tmp_path / "sets", {"set-a/1.txt": record(1)})
    for wrong, says in (("train=b", "no set named b"), ("train=a:2", "--splits: splits: a share")):
        with pytest.raises(ConfigError, match=says):
            run_ingest(plan(path, tmp_path / "out", splits=wrong), Silent())
    assert not (tmp_path / "out").exists()


def test_a_source_without_sets_refuses_splits(tmp_path):
    wanted = IngestPlan("fhir", tmp_path, tmp_path / "out", [], [], splits="train=a")
    with pytest.raises(ConfigError, match="--splits: the source fhir does not come in sets"):
        run_ingest(wanted, Silent())
