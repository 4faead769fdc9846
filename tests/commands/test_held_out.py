"""What is known of held-out subjects, and who they are, changes no byte of what recipes make of the others.

Only the run record tells of them: it says how much of their events a model would know.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from chartscan.commands.train import recipe_of
from chartscan.inputs.readers import tokens
from chartscan.schema import HELD_OUT, TRAIN, TUNING
from chartscan.store.config import StoreConfig
from chartscan.store.dataset import Dataset
from chartscan.store.subjects import assign_split
from chartscan.store.writer import DatasetWriter
from icu import TASK, job, labels, make_icu, train

TREES = ["model.trees=20"]
SMALL = ["model.d_model=8", "model.n_layers=1", "model.d_state=4"]
SERIES = ["reader.min_subjects=2", "reader.window_hours=24", "batch_size=16", "finetune.epochs=1"]
HEADS = ["head.wide_hidden=4", "head.hidden=8", "head.members=2", "head.sequence_hidden=4"]
RECIPES = {
    "ehrmamba-tiny": [*SMALL, "reader.min_subjects=2", "pretrain.epochs=1", "finetune.epochs=1"],
    "bigbird-tiny": [*SMALL[:2], "reader.min_subjects=2", "pretrain.epochs=1", "finetune.epochs=1"],
    "hymate-paper": [*SMALL, "model.n_heads=2", *SERIES, "pretrain.epochs=1"],
    "hymate": [*SMALL, "model.n_heads=2", "model.bins=3", *SERIES, *HEADS],
    "gru": ["model.d_model=8", *SERIES],
    "xgboost": [*TREES, "reader.min_subjects=2"],
    "xgboost-summary": [*TREES, "reader.min_subjects=2"],
}
FRACTIONS = {"train_fraction": 0.6, "tuning_fraction": 0.25}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return make_icu(tmp_path_factory.mktemp("icu") / "data")


@pytest.fixture(scope="module")
def poisoned(dataset, tmp_path_factory) -> Dataset:
    """The same train and tuning subjects; others, and twice as many, are held out."""
    whole = pa.concat_tables(dataset.read_shard(path) for path in dataset.shards())
    held_out = pc.is_in(whole["subject_id"], pa.array(dataset.subject_ids(HELD_OUT)))
    strange = _strange(whole.filter(held_out))
    config = StoreConfig(**FRACTIONS, shard_rows=500)
    with DatasetWriter(tmp_path_factory.mktemp("poisoned") / "data", source="test", config=config) as writer:
        for table in (whole.filter(pc.invert(held_out)), strange, _of_others(strange)):
            writer.write(table)
    return Dataset.open(writer.out)


def _strange(events: pa.Table) -> pa.Table:
    """The events a year later with other values, every other one of an unknown code of its own unit."""
    number = np.arange(events.num_rows)
    code = np.where(number % 2, [f"STRANGE//{n % 7}" for n in number], events["code"].to_pylist())
    columns = {
        "code": pa.array(code.tolist()),
        "numeric_value": pa.array(1e6 * (1.0 + number)),
        **{name: pc.add(events[name], pa.scalar(366 * 86_400_000_000, pa.duration("us"))) for name in _TIMES},
    }
    for name, column in columns.items():
        place = events.column_names.index(name)
        events = events.set_column(
            place, events.schema.field(name), column.cast(events.schema.field(name).type)
        )
    return events


_TIMES = ("time", "available_time")


def _of_others(events: pa.Table) -> pa.Table:
    """The same of subjects nobody knew before, all held out."""
    ids = np.arange(10_000, 11_000)
    fractions = (*FRACTIONS.values(), 1 - sum(FRACTIONS.values()))
    ids = ids[assign_split(ids, StoreConfig().seed, fractions) == HELD_OUT]
    own, place = np.unique(events["subject_id"].to_numpy(), return_inverse=True)
    return events.set_column(0, events.schema.field(0), pa.array(ids[: len(own)][place]))


def strange_labels(dataset: Dataset) -> dict:
    """The labels without half of the held-out subjects', the others' turned round."""
    table, counts = labels()[TASK]
    held_out = np.isin(table["subject_id"].to_numpy(), dataset.subject_ids(HELD_OUT))
    values = table["boolean_value"].to_numpy(zero_copy_only=False) ^ held_out
    place = table.column_names.index("boolean_value")
    turned = table.set_column(place, table.schema.field(place), pa.array(values))
    return {TASK: (turned.filter(pa.array(~held_out | (np.arange(len(values)) % 2 == 0))), counts)}


def content(folder) -> dict[str, bytes]:
    """Every file of an artifact but the run record, and the manifest that has its digest."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    own = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return {name: found for name, found in own.items() if name not in ("run.json", "manifest.json")}


def both(dataset, poisoned, folder, monkeypatch, name):
    """What a recipe makes of the one dataset and of the other; that their fingerprints differ is hidden."""
    recipe = recipe_of(name, RECIPES[name])
    monkeypatch.setattr(Dataset, "fingerprint", "the same")
    one = train(recipe, job(dataset, folder / "one"))
    other = train(recipe, job(poisoned, folder / "other", labels=strange_labels(poisoned)))
    return content(one), content(other)


def test_the_poisoned_dataset_differs_in_held_out_subjects_alone(dataset, poisoned):
    for split in (TRAIN, TUNING):
        assert poisoned.subject_ids(split).tolist() == dataset.subject_ids(split).tolist()
    assert len(poisoned.subject_ids(HELD_OUT)) == 2 * len(dataset.subject_ids(HELD_OUT))


@pytest.mark.parametrize("name", RECIPES)
def test_held_out_subjects_change_no_byte_of_an_artifact(dataset, poisoned, tmp_path, monkeypatch, name):
    one, other = both(dataset, poisoned, tmp_path, monkeypatch, name)
    assert sorted(other) == sorted(one)
    assert {"model.json", "calibration.json"} <= set(one)
    assert ("pace.json" in one) == (name == "ehrmamba-tiny")
    assert [file for file in one if other[file] != one[file]] == []


@pytest.mark.parametrize(
    ("part", "file"), [("fit_bins", "numeric.json"), ("fit_vocabulary", "vocabulary.json")]
)
def test_a_leak_is_found(dataset, poisoned, tmp_path, monkeypatch, part, file):
    """Bins or vocabulary of everybody."""
    fit = getattr(tokens, part)

    def of_everybody(tables, *rest):
        return fit([one.read_shard(path) for path in one.shards()], *rest)

    monkeypatch.setattr(tokens, part, of_everybody)
    monkeypatch.setattr(Dataset, "fingerprint", "the same")
    found = []
    for one in (dataset, poisoned):
        out = train(recipe_of("xgboost", RECIPES["xgboost"]), job(one, tmp_path / str(len(found))))
        found.append(content(out)[file])
    assert found[0] != found[1]
