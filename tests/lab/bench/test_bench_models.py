"""The bench of the token models: epochs counted as a loop counts them, and lines that know their reach."""

import json
from collections import Counter as Tally
from dataclasses import fields

import msgspec
import pytest
import torch

from chartscan.batch import Batch
from chartscan.errors import ConfigError
from chartscan.find import find
from chartscan.layers.stack import prompt_prefixes
from chartscan.learn.reading import fit_reader, read_split
from chartscan.schema import TRAIN
from chartscan_lab.bench import efficiency, line, training_step
from chartscan_lab.bench.command import run_bench
from chartscan_lab.bench.epochs import epochs, hospital, recipe_of
from chartscan_lab.bench.memory import in_fresh_process
from chartscan_lab.bench.training_step import (
    SMALL,
    Measured,
    Work,
    full_rows,
    loss,
    measured,
    module_of,
)

SIZES, MODELS = (1, 2, 4), ("ehrmamba-tiny", "multibird-tiny")


@pytest.fixture(scope="module")
def where():
    with hospital(None, None, subjects=12) as found:
        yield found


@pytest.fixture(scope="module")
def made(where):
    return {name: epochs(recipe_of(name), where, tokens=256, steps=2).by_phase for name in MODELS}


def train_labels(where):
    """(subject, time, task) of every label of a train subject, by a loop."""
    train = set(where.job.dataset.subject_ids(TRAIN).tolist())
    return [
        (row["subject_id"], row["prediction_time"], task)
        for task, (table, _) in where.job.labels.items()
        for row in table.to_pylist()
        if row["subject_id"] in train
    ]


def work(name, phase):
    return Work(recipe_of(name), phase, 60, 3, 1)


def test_a_line_through_points_of_a_line_says_what_any_memory_holds():
    costs = [2 + 0.5 * size for size in SIZES]
    found = line.through(SIZES, costs)
    assert found == pytest.approx((2, 0.5))
    assert line.error(found, SIZES, costs) < 1e-12
    assert line.reach(SIZES, costs, 10) == (16, 16, 16, True)
    assert line.reach(SIZES, costs, 3.6) == (3, 3, 3, False)
    assert line.reach(SIZES, costs, 2.4).largest == 0


def test_points_beside_a_line_show_in_its_error_and_in_the_range_of_what_it_says():
    costs = [2.5, 3.0, 4.5]  # two points say 0.5 a row, two others 0.75
    found = line.reach(SIZES, costs, 10)
    assert line.error(line.through(SIZES, costs), SIZES, costs) > 0.02
    assert found.least < found.largest < found.most
    assert (found.least, found.most) == (11, 16)


def test_two_points_say_nothing_of_how_far_they_are_from_a_line():
    assert line.error(line.through(SIZES[:2], [2.5, 3.0]), SIZES[:2], [2.5, 3.0]) is None
    assert line.reach(SIZES[:2], [2.5, 3.0], 10) == (16, None, None, True)


def test_costs_that_fall_give_no_largest_size():
    assert line.reach(SIZES, [3.0, 2.9, 2.8], 10).largest == 0


def test_labels_a_patient_are_those_that_a_loop_counts(where):
    found = train_labels(where)
    assert where.asked.prompts == len(found)
    assert where.asked.patients == len({subject for subject, _, _ in found})
    assert where.asked.instants == len({(subject, time) for subject, time, _ in found})
    assert where.asked.prompts > 2 * where.asked.patients


def test_a_causal_model_answers_a_patient_from_a_row_and_others_have_a_row_a_prompt(where, made):
    labels = Tally(subject for subject, _, _ in train_labels(where))
    ours, theirs = (made[name]["fine-tuning"] for name in MODELS)
    assert (theirs.rows, theirs.prompts) == (labels.total(), labels.total())
    assert ours.prompts == labels.total()
    assert len(labels) <= ours.rows < theirs.rows  # histories beyond the context have windows of their own
    assert ours.prompts_per_row == pytest.approx(labels.total() / ours.rows)
    assert ours.positions < theirs.positions


@pytest.mark.parametrize("name", MODELS)
def test_the_tokens_of_an_epoch_of_training_are_the_positions_of_its_batches(where, name):
    recipe, tasks = recipe_of(name), where.job.tasks
    records, _ = read_split(where.job, fit_reader(where.job, recipe.reader), TRAIN)
    labels = {task: where.job.labels_of(task, TRAIN) for task in tasks}
    model = find("models", recipe.architecture).Model
    for data in (records.pretraining(model, 512, 0), records.asked(model, tasks, labels, 512, 0)):
        batches = [data.batch(0, index) for index in range(data.n_batches(0))]
        assert data.tokens == sum(batch.codes.numel() for batch in batches)


def test_the_rows_of_multibird_end_where_their_prompt_asks(made):
    theirs = made["multibird-tiny"]["fine-tuning"]
    for batch in theirs.timed:
        assert torch.equal(batch.prompts.positions, batch.lengths - 1)


def test_timed_batches_are_small_and_spread_from_short_rows_to_long(made):
    for by_phase in made.values():
        for epoch in by_phase.values():
            widths = [batch.codes.shape[1] for batch in epoch.timed]
            assert widths == sorted(widths)
            assert all(b.codes.numel() <= max(256, b.codes.shape[1]) for b in epoch.timed)


def test_full_rows_fill_the_context_whoever_answers():
    ours, theirs = (full_rows(work(name, "fine-tuning"), 2, 4, 33) for name in MODELS)
    assert ours.codes.shape == theirs.codes.shape == (2, 32)
    assert ours.prompts.positions.tolist() == [7, 15, 23, 31] * 2
    assert theirs.prompts.rows.tolist() == [0, 1]
    assert prompt_prefixes(theirs, 6).codes.shape == (2, 33)
    assert full_rows(work(MODELS[0], "pretraining"), 2, 4, 33).codes.shape == (2, 33)


def test_costs_of_an_update_and_of_a_position_are_told_apart():
    update, position = 0.5, 0.002
    sizes = [300, 700]
    found = Measured(
        1, update + SMALL * position, [update + position * n for n in sizes], sizes, peak_bytes=1
    )
    assert found.per_position == pytest.approx(position)
    assert found.per_update == pytest.approx(update)
    assert efficiency.seconds_of(10_000, 7, found) == pytest.approx(7 * update + 10_000 * position)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_has_the_precision_of_its_recipe(name, precision):
    recipe = recipe_of(name)
    phase = msgspec.structs.replace(recipe.finetune, precision=precision)
    one = Work(msgspec.structs.replace(recipe, finetune=phase), "fine-tuning", 60, 3, 1)
    torch.manual_seed(0)
    module, batch = module_of(one).eval(), full_rows(one, 2, 4, 33)
    with torch.autocast("cpu", torch.bfloat16):
        half = module(batch)[0].item()
    plain = module(batch)[0].item()
    assert half != plain
    assert loss(one, module, batch)[0].item() == (half if precision == "bf16" else plain)


def test_a_step_is_measured_in_a_process_of_its_own(made):
    found = in_fresh_process(measured, work("multibird-tiny", "pretraining"), [batch_of(made)])
    assert found.positions == [batch_of(made).codes.numel()]
    assert found.peak_bytes > 4 * 4 * found.parameters  # weights, gradients and the optimiser's two
    assert min(found.seconds) > 0


def test_what_a_process_held_before_is_no_memory_of_a_step(made, monkeypatch):
    told = []
    monkeypatch.setattr(training_step, "forget_peak", lambda: told.append("forgotten"))
    monkeypatch.setattr(training_step, "peak_bytes", lambda: told.append("asked") or 1000 * len(told) ** 2)
    assert measured(work("multibird-tiny", "pretraining"), [batch_of(made)]).peak_bytes == 9000 - 4000
    assert told == ["forgotten", "asked", "asked"]


def batch_of(made):
    """A batch whose codes fit the small vocabulary of `work`."""
    batch = made["multibird-tiny"]["pretraining"].timed[0]
    values = {f.name: getattr(batch, f.name) for f in fields(Batch)}
    return Batch(**values | {"codes": batch.codes.clamp(max=59)})


def in_this_process(function, one, batches, *timed):
    """As in a process of its own, which would take most of a minute in all, but for the memory."""
    return function(one, batches, *timed)._replace(peak_bytes=10**6 * len(batches[-1].codes))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "models.json"
    names = ["ehrmamba-tiny", "multibird-tiny", "bilstm-tiny"]
    settings = [f"recipes={json.dumps(names)}", "subjects=12", "tokens=128", "batches=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficiency, "in_fresh_process", in_this_process)
        (table,) = run_bench("models", out, [*settings, "rows=[1,2]", "rounds=1", "vocab_size=100"])
    return json.loads(out.read_text()), table


def test_the_result_has_every_model_in_each_phase_that_it_has(found):
    result, table = found
    pretraining, fine_tuning = result["phases"]
    assert [row["name"] for row in pretraining["rows"]] == ["ehrmamba-tiny", "multibird-tiny"]
    assert [row["name"] for row in fine_tuning["rows"]] == ["ehrmamba-tiny", "multibird-tiny", "bilstm-tiny"]
    assert all(row["name"] in table for row in fine_tuning["rows"])
    assert "1.66" in table
    assert "3.60" in table


def test_ratios_are_those_of_the_seconds_and_rates_follow_from_them(found):
    for phase in found[0]["phases"]:
        first = phase["rows"][0]
        for row in phase["rows"]:
            assert row["ratio"] == pytest.approx(row["seconds"] / first["seconds"])
            assert row["padded_ratio"] == pytest.approx(row["padded_seconds"] / first["padded_seconds"])
            assert row["tokens_per_second"] == pytest.approx(row["positions"] / row["seconds"])


def test_what_would_not_fit_is_not_tried(where, monkeypatch):
    tried = []

    def measure(_, one, batches, timed):
        tried.append(len(batches[0].codes))
        return Measured(1, 0.1, [1.0], [100], peak_bytes=tried[-1] * efficiency.GIB)

    monkeypatch.setattr(efficiency, "in_fresh_process", measure)
    settings = efficiency.Settings(recipes=("ehrmamba-tiny",), rows=(1, 2, 3, 4), measured_gib=3.5)
    one = efficiency.contenders_of(settings, efficiency.recipes_of(settings), where)["pretraining"][0]
    row = efficiency.memory_of(settings, one, efficiency.Counter(4))
    assert tried == [1, 2, 3]
    assert list(row["not_measured"]) == [4]
    assert [goal["largest"] for goal in row["largest"]] == [16, 80]
    assert all(goal["extrapolated"] for goal in row["largest"])


@pytest.mark.parametrize("wrong", [{"recipes": ("xgboost",)}, {"labels": "labels"}], ids=str)
def test_what_cannot_be_compared_is_refused(wrong):
    efficiency.recipes_of(efficiency.Settings())
    with pytest.raises(ConfigError):
        efficiency.recipes_of(efficiency.Settings(**wrong))
