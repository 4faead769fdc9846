"""The command line: each command reads its arguments, calls one function, and says what came out.

Exit codes: 0 clean, 2 wrong usage, 3 finished with quarantined records, 4 error budget exceeded (nothing
published), 5 input unusable (nothing published), 143 interrupted and saved.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from chartscan.console import Display
from chartscan.errors import ChartscanError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change one setting, for example model.d_model=256."),
]
Threads = Annotated[int, typer.Option(help="Processor threads; 0 means all.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def main() -> None:
    """Entry point: errors of ours are one line on standard error and an exit code, never a traceback."""
    # Threads that wait without spinning: on a busy machine two spinning ones were thrice as slow as one.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app()
    except ChartscanError as err:
        print(f"error: {err}", file=sys.stderr)
        sys.exit(err.exit_code)
    except OSError as err:
        print(f"error: {err.filename or 'a file'}: {err.strerror}", file=sys.stderr)
        sys.exit(1)


def threads_of(threads: int) -> int:
    """The number of threads to use."""
    return threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads or 1


@app.command()
def demo(
    out: Path,
    subjects: Annotated[int, typer.Option(help="Simulated subjects.")] = 2000,
    seed: Seed = 0,
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """The main job on a simulated hospital: simulate, ingest, label, train, predict, evaluate.

    Ends with the path of OUT/report.html. Takes a few minutes on two cores.
    """
    from chartscan.recipes.demo import run_demo

    report = run_demo(out, subjects, seed, threads_of(threads), Display(quiet))
    print(report)


@app.command()
def simulate(
    out: Path,
    subjects: Annotated[
        int, typer.Option(help="Number of subjects; subject i is the same in any size.")
    ] = 1000,
    seed: Seed = 0,
    compress: Annotated[bool, typer.Option(help="Write .ndjson.gz.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a synthetic hospital as FHIR R4 bulk NDJSON, with the true risk of every prediction beside it."""
    from chartscan.simulate import SimulateConfig
    from chartscan.simulate import simulate as run

    display = Display(quiet)
    with display.progress("Simulating", "subjects") as progress:
        counts = run(out, SimulateConfig(subjects=subjects, seed=seed, compress=compress), progress)
    display.say(
        f"{out}: {subjects:,} subjects, {sum(counts.values()):,} resources; true risks in {out}/truth"
    )


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="What IN is: fhir.")],
    input_path: Annotated[Path, typer.Argument(metavar="IN")],
    out: Path,
    follow_up_end: Annotated[
        str | None,
        typer.Option(help="Date until which everybody was followed; FHIR exports usually say it themselves."),
    ] = None,
    follow_up_days: Annotated[
        int | None, typer.Option(help="Days each subject was followed after the last event (MIMIC-IV: 365).")
    ] = None,
    strict: Annotated[bool, typer.Option(help="No line may be unusable.")] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace OUT if it is a dataset; it stays readable until then.")
    ] = False,
    store: Annotated[
        list[str] | None, typer.Option("--store", metavar="NAME=VALUE", help="Change a setting of the store.")
    ] = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Turn records into a MEDS dataset: sorted, sharded, described, every input line accounted for.

    Lines that cannot be used go to OUT.quarantine with file, line and reason. Exit code 3: there are some.
    """
    from chartscan.recipes.ingest import IngestPlan, accounting_lines, run_ingest

    display = Display(quiet)
    plan = IngestPlan(
        source, input_path, out, settings or [], store or [], follow_up_end, follow_up_days, strict, overwrite
    )
    dataset, accounting = run_ingest(plan, display)
    for line in accounting_lines(accounting, dataset):
        display.say(line)
    if accounting.quarantined:
        display.say(f"{accounting.quarantined} lines are in quarantine: {out}.quarantine")
        raise typer.Exit(3)


@app.command()
def label(
    task: Annotated[str, typer.Argument(help="A built-in task, or 'all' (then OUT is a folder).")],
    dataset: Path,
    out: Path,
    quiet: Quiet = False,
) -> None:
    """Label every index stay of a dataset; unknown outcomes are absent, with counts and reasons."""
    from chartscan.recipes._labels import cohort_lines, make_labels, save_labels
    from chartscan.store.dataset import Dataset

    display = Display(quiet)
    labels = make_labels(Dataset.open(dataset), None if task == "all" else [task], display)
    save_labels(labels, out, as_folder=task == "all")
    for line in cohort_lines(labels):
        display.say(line)


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe: ehrmamba, ehrmamba-small, ehrmamba-tiny, xgboost, logistic.")
    ],
    data: Annotated[Path, typer.Option(help="The dataset.")],
    out: Annotated[Path, typer.Option(help="Where the trained model goes.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Label file or folder of them; default: all built-in tasks, labelled now."),
    ] = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted run.")] = False,
    threads: Threads = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    track: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard curves (needs the extra 'track').")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a model of all tasks at once. Only subjects of the train split teach it.

    An interrupted run (Ctrl-C, SIGTERM, power cut) goes on with --resume and gives the same losses.
    """
    from chartscan.recipes.train import run_train

    display = Display(quiet)
    run_train(recipe, data, out, labels, settings or [], display, resume, threads_of(threads), device, track)
    display.say(f"{out}: trained. Next: chartscan predict {out} {data} LABELS OUT.parquet")


@app.command()
def predict(
    artifact: Path,
    dataset: Path,
    labels: Annotated[Path, typer.Argument(help="Label file, or a folder of them.")],
    out: Annotated[Path, typer.Argument(help="Parquet file; a folder when LABELS is one.")],
    split: Annotated[str, typer.Option(help="held_out, tuning, train or all.")] = "held_out",
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Predict the labelled outcomes of a split: for each, a calibrated probability and a decision."""
    from chartscan.recipes.predict import run_predict

    for line in run_predict(artifact, dataset, labels, out, split, threads_of(threads), Display(quiet)):
        Display(quiet).say(line)


@app.command()
def evaluate(
    predictions: Annotated[
        list[Path], typer.Argument(help="Prediction files, or folders of them, of one model.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of report.html and metrics.json.")],
    against: Annotated[
        list[Path] | None, typer.Option(help="Predictions of a baseline; may be given several times.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The dataset: adds data accounting and age and sex groups.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The trained model: adds settings, coverage and training curves.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="True risks of a simulated export (needs --data): adds the ceiling.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamples of subjects behind every interval.")] = 1000,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write report.html and metrics.json: discrimination and calibration with intervals, side by side."""
    from chartscan.recipes.report import ReportPlan, run_evaluate

    plan = ReportPlan(predictions, out, against or [], data, model, truth, bootstrap, seed)
    display = Display(quiet)
    report, table = run_evaluate(plan, display)
    display.say(table)
    display.say(str(report))


@app.command()
def bench(
    what: Annotated[str, typer.Argument(help="ingest or train.")],
    out: Annotated[Path | None, typer.Option(help="Also write the numbers as JSON.")] = None,
    settings: Settings = None,
) -> None:
    """Measure speed and memory beside a peer in one run, on this machine."""
    from chartscan.recipes.bench import run_bench

    for line in run_bench(what, out, settings or []):
        print(line)


if __name__ == "__main__":
    main()
