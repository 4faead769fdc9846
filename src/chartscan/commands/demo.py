"""The main job on a simulated hospital: what `chartscan demo` runs.

The same functions as the single commands, in the order in which they are used with real data: simulate ->
ingest -> label -> train (a sequence model, the trees, and models of the user) -> predict -> evaluate.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from chartscan import files
from chartscan.commands.evaluate import ReportPlan, run_evaluate
from chartscan.commands.ingest import IngestPlan, accounting_lines, run_ingest
from chartscan.commands.predict import run_predict
from chartscan.commands.train import recipe_of, run_train
from chartscan.evaluation.reported import reported
from chartscan.labels.files import cohort_lines, save_labels
from chartscan.labels.making import make_labels
from chartscan.labels.tasks import task_modules, tasks_to_label
from chartscan.lock import OutputLock
from chartscan.recipes import know
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
    models: Sequence[Path] = (),
    objectives: Sequence[Path] = (),
) -> Path:
    """Make everything under `out` and return the path of the report. ConfigError where `out` exists.

    `tasks`, `metrics`, `models` and `objectives` are Python files of the user's own. For each objective, the
    network is trained once more, with that head. Ids are open, since no patient is real: every machine gives
    the same numbers.
    """
    refuse_existing(out)
    wanted = tasks_to_label("all", tasks)
    task_modules(wanted)  # a file that holds no task, metric, model or objective is refused before any work
    reported(metrics)
    trainings: dict[str, tuple[str, Path | None]] = {name: (name, None) for name in (*MODELS, *know(models))}
    for path in objectives:
        trainings[f"{MODELS[0]}-{path.stem}"] = (MODELS[0], path)
    for name, objective in trainings.values():
        recipe_of(name, [f"seed={seed}"], objective)
    with files.made_folder(out.parent), OutputLock(out), open_ids():
        return _run(out, subjects, seed, threads, watcher, wanted, metrics, trainings)


def _run(
    out: Path,
    subjects: int,
    seed: int,
    threads: int,
    watcher: Watcher,
    wanted: Sequence[str | Path],
    metrics: Sequence[Path],
    trainings: Mapping[str, tuple[str, Path | None]],  # folder -> recipe, and file of an objective
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
    for folder, (recipe, objective) in trainings.items():
        run_train(
            recipe,
            data,
            out / folder,
            labels,
            [f"seed={seed}"],
            watcher,
            threads=threads,
            objective=objective,
        )
        for one in run_predict(
            out / folder, data, labels, out / f"{folder}-predictions", "held_out", threads, watcher
        ):
            watcher.say(str(one))
    plan = ReportPlan(
        [out / f"{MODELS[0]}-predictions"],
        out / "report",
        against=[out / f"{folder}-predictions" for folder in trainings if folder != MODELS[0]],
        data=data,
        model=out / MODELS[0],
        truth=export / "truth",
        metrics=metrics,
    )
    report, table = run_evaluate(plan, watcher)
    watcher.say(table)
    return report
