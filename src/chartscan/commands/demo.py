"""The main job on a simulated hospital: what `chartscan demo` runs.

The same functions as the single commands, in the order in which they are used with real data: simulate ->
ingest -> label -> train (a sequence model and the trees) -> predict -> evaluate.
"""

from collections.abc import Sequence
from pathlib import Path

from chartscan import files
from chartscan.commands.evaluate import ReportPlan, run_evaluate
from chartscan.commands.ingest import IngestPlan, accounting_lines, run_ingest
from chartscan.commands.predict import run_predict
from chartscan.commands.train import run_train
from chartscan.evaluation.reported import reported
from chartscan.labels.files import cohort_lines, save_labels
from chartscan.labels.making import make_labels
from chartscan.labels.tasks import task_modules, tasks_to_label
from chartscan.lock import OutputLock
from chartscan.runs.job import Watcher
from chartscan.runs.work import refuse_existing
from chartscan.simulator import SimulateConfig, simulate
from chartscan.site_key import open_ids

MODELS = ("ehrmamba-tiny", "xgboost")


def run_demo(
    out: Path,
    subjects: int,
    seed: int,
    threads: int,
    watcher: Watcher,
    tasks: Sequence[Path] = (),
    metrics: Sequence[Path] = (),
) -> Path:
    """Make everything under `out` and return the path of the report. ConfigError where `out` exists.

    `tasks` and `metrics` are Python files of the user's own. Ids are open, since no patient is real: every
    machine gives the same numbers.
    """
    refuse_existing(out)
    wanted = tasks_to_label("all", tasks)
    task_modules(wanted)  # a file that holds no task or metric is refused before any work
    reported(metrics)
    with files.made_folder(out.parent), OutputLock(out), open_ids():
        return _run(out, subjects, seed, threads, watcher, wanted, metrics)


def _run(
    out: Path,
    subjects: int,
    seed: int,
    threads: int,
    watcher: Watcher,
    wanted: Sequence[str | Path],
    metrics: Sequence[Path],
) -> Path:
    export, data, labels = out / "export", out / "dataset", out / "labels"
    with watcher.progress("Simulating", "subjects") as progress:
        simulate(export, SimulateConfig(subjects=subjects, seed=seed), progress)
    dataset, accounting = run_ingest(IngestPlan("fhir", export, data, [], []), watcher)
    for line in accounting_lines(accounting, dataset):
        watcher.say(line)
    found = make_labels(dataset, wanted, watcher)
    save_labels(found, labels, as_folder=True)
    for line in cohort_lines(found):
        watcher.say(line)
    for name in MODELS:
        run_train(name, data, out / name, labels, [f"seed={seed}"], watcher, threads=threads)
        for one in run_predict(
            out / name, data, labels, out / f"{name}-predictions", "held_out", threads, watcher
        ):
            watcher.say(str(one))
    plan = ReportPlan(
        [out / f"{MODELS[0]}-predictions"],
        out / "report",
        against=[out / f"{MODELS[1]}-predictions"],
        data=data,
        model=out / MODELS[0],
        truth=export / "truth",
        metrics=metrics,
    )
    report, table = run_evaluate(plan, watcher)
    watcher.say(table)
    return report
