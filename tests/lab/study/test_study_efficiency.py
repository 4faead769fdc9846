"""Table 1's efficiency: figures of the bench shown right, ratios by hand, and measured only once."""

import msgspec
import pytest
from fake_trainer import bench_result
from test_study_table1 import place_at, table_after

from chartscan.errors import ConfigError
from chartscan.settings import with_settings
from chartscan_lab.bench.paper_ratios import PAPER, beside_the_paper
from chartscan_lab.study._efficiency import settings_of
from chartscan_lab.study._efficiency_tables import measured, trainings
from chartscan_lab.study._score import RowScore
from chartscan_lab.study.table1 import STUDY

RECIPES = ("xgboost", "multibird", "ehrmamba")


def study(**changes):
    return msgspec.structs.replace(STUDY, recipes=RECIPES, tested=("ehrmamba",), **changes)


def place(folder, **changes):
    return place_at(folder, seeds=1, **changes)


def row(name, seconds, padded, largest, prompts_per_row):
    return {
        "name": name, "ratio": seconds, "padded_ratio": padded, "prompts": prompts_per_row,
        "prompts_per_row": prompts_per_row,
        "largest": [{"gib": gib, "largest": rows} for gib, rows in zip((16.0, 80.0), largest, strict=True)],
    }  # fmt: skip


def test_ratios_are_multibirds_time_over_ehrmambas_and_ehrmambas_batch_over_multibirds():
    rows = [row("ehrmamba-tiny", 1.0, 1.0, (6, 36), 16.0), row("multibird-tiny", 4.2, 8.9, (24, 144), 1.0)]
    (one,) = beside_the_paper("fine-tuning", "ehrmamba-tiny", rows)
    assert (one["seconds"], one["padded_seconds"]) == (4.2, 8.9)
    assert [batch["rows"] for batch in one["batches"]] == [0.25, 0.25]
    assert [batch["prompts"] for batch in one["batches"]] == [4.0, 4.0]
    assert [batch["gib"] for batch in one["batches"]] == [16.0, 80.0]
    assert one["paper"] == {"seconds": pytest.approx(277 / 77), "batch": pytest.approx(64 / 26)}
    assert PAPER["pretraining"] == {"seconds": pytest.approx(1445 / 869), "batch": 1.375}


def test_a_batch_of_none_has_no_ratio():
    rows = [row("ehrmamba", 1.0, 1.0, (6, 36), 0), row("multibird", 4.2, 8.9, (0, 72), 0)]
    (one,) = beside_the_paper("pretraining", "ehrmamba", rows)
    assert [batch["rows"] for batch in one["batches"]] == [None, 0.5]
    assert [batch["prompts"] for batch in one["batches"]] == [None, None]


@pytest.mark.parametrize("baseline", ["ehrmamba2", "bilstm", None], ids=str)
def test_nothing_but_ehrmamba_is_set_beside_the_paper(baseline):
    rows = [row(baseline, 1.0, 1.0, (6, 36), 1.0), row("multibird", 4.2, 8.9, (24, 144), 1.0)]
    assert beside_the_paper("fine-tuning", baseline, rows[baseline is None :]) == []


def test_every_sequence_recipe_is_measured_as_the_study_trains_it_and_ehrmamba_is_the_baseline(tmp_path):
    where = place(tmp_path)
    study(memory_gib=16).run(where)
    ((recipes, settings),) = where.data.trainer.measured
    assert [*recipes] == ["ehrmamba-tiny", "multibird-tiny"] == [*settings.recipes]
    assert settings.memory_gib == (16.0,)
    assert settings.threads == where.threads
    assert all(recipe.seed == 0 for recipe in recipes.values())


def test_the_page_and_the_values_have_the_result_of_the_bench(tmp_path):
    report = study(memory_gib=(16, 80)).run(place(tmp_path))
    found = report.values["efficiency"]
    settings = settings_of(["ehrmamba-tiny", "multibird-tiny"], "tiny", (16, 80), 1)
    expected = msgspec.json.decode(msgspec.json.encode(bench_result(settings.recipes, settings)))
    assert {name: found[name] for name in ("clock", "patients", "phases")} == {
        name: expected[name] for name in ("clock", "patients", "phases")
    }
    assert found["conditions"]["processor"] in report.markdown
    assert found["settings"] == msgspec.json.decode(msgspec.json.encode(settings))
    assert found["made_with"]["source"]
    shown = {one["ratio"]: one["here"] for one in lines(report.markdown, "### Beside the paper")}
    epoch = "multibird-tiny's epoch over ehrmamba-tiny's"
    batch = "ehrmamba-tiny's largest batch over multibird-tiny's"
    assert shown[epoch] == "2.00"
    assert shown[f"{batch}, rows, 80 GiB"] == "2.00"
    assert shown[f"{batch}, prompts, 16 GiB"] == "2.00"
    papers = [one["the paper"] for one in lines(report.markdown, "### Beside the paper")]
    assert [paper for paper in papers if paper != "-"] == ["1.66", "1.38", "1.38", "3.60", "2.46", "2.46"]


def lines(text, heading):
    """Rows of the first table below a heading, repeated first cells and all."""
    table = text.split(f"{heading}\n\n")[1].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def test_epochs_and_batches_of_each_phase_are_shown_as_they_were_found():
    settings = settings_of(["ehrmamba-tiny", "multibird-tiny"], "tiny", (16,), 1)
    found = {"settings": msgspec.to_builtins(settings)} | bench_result(settings.recipes, settings)
    text = "\n\n".join(measured(msgspec.json.decode(msgspec.json.encode(found))))
    assert "20 patients with 2.5 labels each" in text
    for phase, prompts in (("Pretraining", "-"), ("Fine-tuning", "4.0")):
        one = lines(text, f"### {phase}")[1]
        assert one["recipe"] == "multibird-tiny (fp32)"
        assert (one["tokens an epoch"], one["s an epoch"]) == ("500", "2.0 [0.5, 9.0]")
        assert (one["tokens/s"], one["prompts a row"]) == ("250", prompts)
        epochs = text.split(f"### {phase}\n\n")[1].split("\n\n")[0]
        memory = lines(text, epochs)[1]  # the table after that
        assert (memory["GiB by 4 rows"], memory["GiB by 8 rows"]) == ("1.00", "2.00")
        assert memory["fixed GiB + MiB a row"] == "0.50 + 1.0"
        assert memory["rows in 16 GiB"] == "32*"


def test_tokens_a_second_of_the_trainings_are_their_tokens_over_their_seconds(tmp_path):
    report = study().run(place_at(tmp_path, seeds=2))  # 2 and 3 seconds, 1,000 tokens, in each phase
    shown = table_after(report.markdown, "Efficiency: the trainings")
    assert shown["ehrmamba, prompted"]["pretraining: tokens an epoch"] == "1,000"
    assert shown["ehrmamba, prompted"]["fine-tuning: tokens/s"] == "400"
    assert (
        "'multibird, prompted' took that of 'ehrmamba, prompted' 1.00 times in pretraining (the paper 1.66), "
        "1.00 times in fine-tuning (the paper 3.60)."
    ) in report.markdown
    for task in report.values["tasks"]:
        assert task["rows"][-1]["tokens_per_epoch"] == {"pretraining": 1000.0, "fine-tuning": 1000.0}


def test_an_epoch_of_a_model_a_task_is_that_of_all_tasks(tmp_path):
    report = study().run(place(tmp_path))
    rows = msgspec.convert(report.values["tasks"][0]["rows"], list[RowScore])
    ours, other = rows[-1], rows[1]
    other = msgspec.structs.replace(
        other,
        seconds_per_epoch={"pretraining": 3.0, "fine-tuning death": 4.0, "fine-tuning stay": 6.0},
        tokens_per_epoch={"pretraining": 600.0, "fine-tuning death": 100.0, "fine-tuning stay": 300.0},
    )
    ours = msgspec.structs.replace(ours, seconds_per_epoch={"pretraining": 2.0, "fine-tuning": 4.0})
    parts = trainings([ours, other], ours.name, other.name)
    assert "| 600 | 200 | 400 | 40 |" in parts[1]
    assert "1.50 times in pretraining (the paper 1.66), 2.50 times in fine-tuning" in parts[-1]


def test_the_same_command_measures_once_and_another_memory_anew(tmp_path):
    first, again, more = place(tmp_path), place(tmp_path), place(tmp_path)
    report = study(memory_gib=16).run(first)
    assert study(memory_gib=16).run(again).markdown == report.markdown
    assert len(first.data.trainer.measured) == 1
    assert not again.data.trainer.measured
    study(memory_gib=80).run(more)
    assert len(more.data.trainer.measured) == 1


def test_what_is_measured_and_kept_is_shown_with_any_number_of_seeds(tmp_path):
    study(memory_gib=16).run(place(tmp_path))
    where = place_at(tmp_path, seeds=2)
    assert study(memory_gib=16).run(where).values["efficiency"]
    assert not where.data.trainer.measured


def test_without_a_memory_nothing_is_measured_or_said_of_it(tmp_path):
    where = place(tmp_path)
    report = study().run(where)
    assert not where.data.trainer.measured
    assert report.values["efficiency"] is None
    assert "measured in turn" not in report.markdown


def test_measuring_waits_until_every_cell_is_finished(tmp_path):
    where = place(tmp_path, only=["multibird, prompted"])
    report = study(memory_gib=16).run(where)
    assert not where.data.trainer.measured
    assert "not measured yet" in report.markdown


def test_what_cannot_be_measured_is_refused_before_any_training(tmp_path):
    for changes, where, message in (
        ({"memory_gib": 16}, place(tmp_path, device="cuda"), "on a processor only, not on cuda"),
        ({"memory_gib": (16, 0)}, place(tmp_path), "expected more than 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            study(**changes).run(where)
        assert not where.data.trainer.trained
    study().run(place(tmp_path, device="cuda"))


def test_memory_may_be_one_number_or_several():
    assert with_settings(STUDY, ["memory_gib=16"]).memory_gib == 16
    assert with_settings(STUDY, ["memory_gib=[16,80]"]).memory_gib == (16, 80)
