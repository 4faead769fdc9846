"""No text of a record leaves the dataset: not in output, errors, logs, run folders, reports or leftovers.

Ids of the source are not even in the dataset, but for its quarantine: there is a site key.
"""

import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from canaries import NUMBER, Planter, found_below, found_in, give_numbers
from chartscan import cli, site_key
from chartscan.simulator import SimulateConfig, simulate
from chartscan.simulator.export import patient_id

QUICK = ("pretrain.epochs=1", "finetune.epochs=1", "model.d_model=16", "batch_size=8192")


class Hospital:
    """An export with canaries, and everything that commands say of it."""

    def __init__(self, root: Path, subjects: int):
        self.root, self.said = root, ""
        self.planter = Planter()
        simulate(root / "export", SimulateConfig(subjects=subjects, seed=3), lambda *_: None)
        give_numbers(root / "export")
        self.planter.plant(root / "export")
        self.ids = [patient_id(0)[:-2], NUMBER]  # how all ids of patients, and of what belongs to them, begin
        self.secrets = [*self.planter.canaries, *self.ids]

    def hits(self) -> dict[str, list[str]]:
        """Canaries where none may be: in the dataset ids of the source, outside of it everything."""
        export, data = self.root / "export", self.root / "data"
        found = found_below(self.root, (export, data), self.secrets)
        found |= found_below(data, (data / "quarantine",), self.ids)
        said = found_in(self.said, self.secrets)
        return found | ({"said": said} if said else {})


@pytest.fixture
def run(monkeypatch, capfd, tmp_path) -> Iterator[Callable[..., int]]:
    """Runs a command in this process with DEBUG on and a site key; what it says is kept."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv(cli.DEBUG, "1")
    monkeypatch.setenv(site_key.VARIABLE, str(tmp_path / "temporary" / "key"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    hooks = sys.excepthook, sys.unraisablehook

    def run_(hospital: Hospital, *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["chartscan", *map(str, arguments)])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        said = capfd.readouterr()
        hospital.said += said.out + said.err
        return int(code)

    yield run_
    sys.excepthook, sys.unraisablehook = hooks


def test_no_text_of_a_record_leaves_the_dataset_and_no_id_of_the_source_enters_it(run, tmp_path):
    hospital = Hospital(tmp_path, 60)
    for name in ("Patient", "Encounter"):
        text = (tmp_path / "export" / f"{name}.ndjson").read_text(errors="replace")
        assert len(found_in(text, hospital.ids)) == len(hospital.ids)
    assert len(hospital.planter.canaries) >= 40
    assert run(hospital, "ingest", "fhir", "export", "strict", "--strict") in (4, 5), hospital.said
    assert run(hospital, "ingest", "fhir", "export", "data", "--store", "error_budget=1") == 3
    assert run(hospital, "label", "all", "data", "labels") == 0
    assert run(hospital, "train", "xgboost", "--data", "data", "--labels", "labels", "--out", "trees") == 0
    assert run(hospital, "predict", "trees", "data", "labels", "p") == 0
    assert (
        run(hospital, "evaluate", "p", "--data", "data", "--model", "trees", "--out", "r", "--bootstrap", 5)
        == 0
    )
    crash_everywhere(run, hospital, 12)
    assert hospital.hits() == {}


@pytest.mark.soak
def test_no_text_of_a_record_leaves_the_dataset_and_no_id_enters_it_by_any_command_or_crash(run, tmp_path):
    hospital = Hospital(tmp_path, 300)
    run(hospital, "ingest", "fhir", "export", "strict", "--strict")
    run(hospital, "ingest", "fhir", "export", "data", "--store", "error_budget=1")
    settings = [part for setting in QUICK for part in ("--set", setting)]
    run(hospital, "label", "all", "data", "labels")
    train = ("--data", "data", "--labels", "labels", "--threads", 1)
    assert run(hospital, "train", "ehrmamba-tiny", *train, "--out", "net", *settings) == 0
    assert run(hospital, "train", "xgboost-summary", *train, "--out", "trees") == 0
    for model in ("net", "trees"):
        assert run(hospital, "predict", model, "data", "labels", f"p-{model}") == 0
        assert (
            run(hospital, "evaluate", f"p-{model}", "--data", "data", "--model", model, "--out", f"r-{model}")
            == 0
        )
    run(hospital, "explain", "net", "data", "labels", "--out", "explained")
    run(hospital, "forecast", "net", "data", "f.parquet", "--samples", 2, "--days", 5)
    crash_everywhere(run, hospital, 200)
    assert hospital.hits() == {}


ERRORS: tuple[Callable[[str], BaseException], ...] = (
    ValueError,
    KeyError,
    RuntimeError,
    OSError,
    TypeError,
    pl.exceptions.ComputeError,
    pa.ArrowInvalid,
    lambda text: UnicodeDecodeError("utf-8", text.encode(), 0, 1, text),
    lambda text: ExceptionGroup(text, [ValueError(text)]),
)
PLACES = (
    "chartscan.sources.fhir.reader.Reader._map",
    "chartscan.sources.fhir.decode.LineDecoder.decode",
    "chartscan.sources.fhir.index.build_index",
    "chartscan.store.writer.DatasetWriter.write",
    "chartscan.store.quarantine.Quarantine.put",
    "chartscan.store.dataset.Dataset.read_shard",
    "chartscan.store.sort.sort_shard",
    "chartscan.artifact.folder.read",
    "chartscan.inputs.readers.questions.Questions.of",
    "chartscan.files.sha256",
)


def crash_everywhere(run, hospital: Hospital, times: int) -> None:
    """Errors that quote a record, at places and of kinds by chance, in commands by chance."""
    chance = random.Random(0)
    crashed = 0
    for number in range(times):
        command = chance.choice(
            (
                ("ingest", "fhir", "export", f"crashed-{number}"),
                ("label", "all", "data", f"labels-{number}"),
                ("predict", "trees", "data", "labels", f"p-{number}"),
            )
        )
        error = chance.choice(ERRORS)(f"cannot read {chance.choice(hospital.planter.canaries)}")

        def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        with pytest.MonkeyPatch.context() as patch:
            for place in PLACES:
                if chance.random() < 0.5:
                    patch.setattr(place, fail, raising=False)
            crashed += run(hospital, *command) not in (0, 3)
    assert crashed > times / 2


def test_a_canary_is_found_where_there_is_one(tmp_path):
    planter = Planter()
    canary = planter.new()
    (tmp_path / "log.txt").write_text(f"x {canary} y")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text(canary)
    assert found_below(tmp_path, (tmp_path / "data",), planter.canaries) == {"log.txt": [canary]}
