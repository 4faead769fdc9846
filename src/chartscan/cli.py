"""The command line: each command reads its arguments, calls one function, and says what came out.

What can be refused before work begins (numbers out of range, a device that is not there, a file where a
folder is meant) is refused here. `main` turns every error into one line and an exit code.
"""

import os
import sys
import textwrap
import traceback
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import chartscan
from chartscan.console import Display
from chartscan.errors import ChartscanError, ConfigError
from chartscan.find import described

HELP = """From a hospital's FHIR export to a sequence model it can run itself, and a report it can believe.

Try it:

  chartscan demo OUT

Your own data, in this order:

  chartscan ingest fhir EXPORT DATASET
  chartscan label all DATASET LABELS
  chartscan train ehrmamba-small --data DATASET --labels LABELS --out RUN
  chartscan predict RUN DATASET LABELS P
  chartscan evaluate P --data DATASET --model RUN --out REPORT

A baseline beside it: train xgboost, predict with that, evaluate --against.

Exit codes:
    0  done
    1  unexpected error, or a file that cannot be read or written
    2  wrong usage or setting, or an optional package is missing
    3  done, and some input lines are in quarantine (ingest)
    4  too many lines for quarantine; nothing was published (ingest)
    5  the data cannot be used; nothing was published
  130  interrupted with Ctrl-C
  143  training was interrupted and saved; go on with --resume

CHARTSCAN_DEBUG=1 in the environment shows where an unexpected error came from.
"""
DEBUG = "CHARTSCAN_DEBUG"
FEW_RESAMPLES = 100

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=HELP,
)


class WithTasks(TyperCommand):
    """A command whose help lists the built-in tasks."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.help = (self.help or "") + _listed("Tasks", described("tasks", "TITLE"))
        super().format_help(ctx, formatter)


class WithRecipes(TyperCommand):
    """A command whose help lists the recipes."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        found = {name.replace("_", "-"): text for name, text in described("recipes", "RECIPE").items()}
        self.help = (self.help or "") + _listed("Recipes", found)
        super().format_help(ctx, formatter)


class WithStudies(TyperCommand):
    """A command whose help lists the studies."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        found = {name.replace("_", "-"): text for name, text in described("recipes.study", "STUDY").items()}
        self.help = (self.help or "") + _listed("Studies", found)
        super().format_help(ctx, formatter)


def _listed(heading: str, found: dict[str, str]) -> str:
    """Names with the first sentence about each, as a block that keeps its lines."""
    width = max(map(len, found))
    lines = [
        textwrap.fill(
            text.partition(". ")[0].rstrip("."),
            78,
            initial_indent=f"  {name:<{width}}  ",
            subsequent_indent=" " * (width + 4),
        )
        for name, text in found.items()
    ]
    return "\n\n" + "\n".join([f"{heading}:", *lines])


def settings_option(example: str) -> Any:
    """The option --set, with an example that suits the command."""
    return typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help=f"Change one setting, for example {example}. May be given several times; a wrong name is "
        "answered with those there are.",
    )


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Threads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 means all.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random: the same seed, the same result.")]
Subjects = Annotated[
    int, typer.Option(min=1, help="Simulated patients; patient i is the same in any number.")
]
DatasetFolder = Annotated[
    Path, typer.Argument(metavar="DATASET", help="Folder of the dataset, made by chartscan ingest.")
]
ArtifactFolder = Annotated[
    Path, typer.Argument(metavar="ARTIFACT", help="Folder of the trained model: --out of chartscan train.")
]


def main() -> None:
    """Entry point: an error is one line on standard error and an exit code, never a traceback."""
    # Threads that wait without spinning: on a busy machine two spinning ones were thrice as slow as one.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        app()
    except ChartscanError as err:
        _end(str(err), err.exit_code)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except SystemExit as err:
        if err.code == 130:  # how typer passes on Ctrl-C
            print("error: interrupted", file=sys.stderr)
        raise
    except OSError as err:
        place = err.filename or f"a file or device used by {_command()}"
        _end(f"{place}: {err.strerror or err}", 1)
    except Exception as err:
        if os.environ.get(DEBUG):
            raise
        _end(unexpected(err, sys.argv[1:]), 1)


def _end(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _command() -> str:
    """The command that runs, as far as the arguments tell."""
    return (
        f"chartscan {sys.argv[1]}" if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "chartscan"
    )


def unexpected(err: Exception, arguments: list[str]) -> str:
    """What to say of an error nobody foresaw: its kind and place, and the settings that may have caused it.

    Its text is told only where it comes from the numerics (torch, memory): readers of data quote records.
    """
    frames = [
        f for f in traceback.extract_tb(err.__traceback__) if f"{os.sep}chartscan{os.sep}" in f.filename
    ]
    place = f" at {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    numeric = type(err) in (RuntimeError, MemoryError) or type(err).__module__.partition(".")[0] == "torch"
    words = f": {str(err).partition(chr(10))[0]}" if numeric and str(err) else ""
    message = f"unexpected {type(err).__name__}{place}{words}."
    given = [b for a, b in pairwise(arguments) if a in ("--set", "--store")]
    if given:
        message += f" The cause may be a setting: {', '.join(given)}."
    return f"{message} {DEBUG}=1 shows where it came from (the output may hold values of records)."


def threads_of(threads: int) -> int:
    """The number of threads to use: all that this process may have, if 0."""
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_of(name: str) -> str:
    """The device `name`; ConfigError where there is none such, or this machine lacks it."""
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected cpu or cuda.")
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            why = (
                "this PyTorch was built for the CPU" if not torch.version.cuda else "no usable GPU was found"
            )
            raise ConfigError(
                f"--device cuda: {why}. Leave --device out to train on the CPU, or install a PyTorch with "
                "CUDA (https://pytorch.org/get-started) on a machine with an NVIDIA GPU and driver."
            )
    return name


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"chartscan {chartscan.__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of chartscan itself."""


@app.command()
def demo(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder for everything the demonstration makes.")
    ],
    subjects: Subjects = 2000,
    seed: Seed = 0,
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """The main job on a simulated hospital: simulate, ingest, label, train, predict, evaluate.

    Ends with the path of OUT/report/report.html. Takes a few minutes on two cores.

    Example:
      chartscan demo demo --subjects 1000
    """
    from chartscan.recipes.demo import run_demo

    report = run_demo(out, subjects, seed, threads_of(threads), Display(quiet))
    print(report)


@app.command()
def simulate(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder for the export: NDJSON files and truth/.")
    ],
    subjects: Subjects = 1000,
    seed: Seed = 0,
    compress: Annotated[bool, typer.Option(help="Write .ndjson.gz.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a synthetic hospital as FHIR R4 bulk NDJSON, with the true risk of every prediction beside it.

    Example:
      chartscan simulate EXPORT --subjects 2000 --seed 1
    """
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
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What IN is: fhir or physionet2012.")],
    input_path: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="The export: a folder of .ndjson or .ndjson.gz files (fhir), or of sets as folders, .tar.gz "
            "or .zip with their Outcomes files (physionet2012).",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the dataset.")],
    follow_up_end: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Date until which everybody was followed, such as 2024-12-31; FHIR exports usually say it "
            "themselves.",
        ),
    ] = None,
    follow_up_days: Annotated[
        int | None,
        typer.Option(min=0, help="Days each subject was followed after the last event (MIMIC-IV: 365)."),
    ] = None,
    strict: Annotated[bool, typer.Option(help="No line may be unusable.")] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace OUT if it is a dataset; it stays readable until then.")
    ] = False,
    store: Annotated[
        list[str] | None,
        typer.Option(
            "--store",
            metavar="NAME=VALUE",
            help="Change a setting of how the dataset is written, for example train_fraction=0.8 or seed=1 "
            "(of the splits).",
        ),
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(
            metavar="SPLITS",
            help="Which sets, or shares of them, are train, tuning and held_out, where the source has sets: "
            "'train=a:0.8,tuning=a:0.2,held_out=b', or 'train=0.7,tuning=0.15,held_out=0.15'.",
        ),
    ] = None,
    settings: Annotated[list[str] | None, settings_option("time_zone=Europe/Vienna")] = None,
    quiet: Quiet = False,
) -> None:
    """Turn records into a MEDS dataset: sorted, sharded, described, every input line accounted for.

    Lines that cannot be used go to OUT.quarantine with file, line and reason. Exit code 3: there are some.

    Examples:
      chartscan ingest fhir EXPORT DATASET
      chartscan ingest fhir EXPORT DATASET --follow-up-end 2024-12-31
      chartscan ingest physionet2012 SETS DATASET
    """
    from chartscan.recipes.ingest import IngestPlan, accounting_lines, run_ingest

    display = Display(quiet)
    plan = IngestPlan(
        source,
        input_path,
        out,
        settings or [],
        store or [],
        follow_up_end,
        follow_up_days,
        strict,
        overwrite,
        splits,
    )
    dataset, accounting = run_ingest(plan, display)
    for line in accounting_lines(accounting, dataset):
        display.say(line)
    if accounting.quarantined:
        display.say(f"{accounting.quarantined} lines are in quarantine: {out}.quarantine")
        raise typer.Exit(3)


@app.command(cls=WithTasks)
def label(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task of the list above, or 'all'.")],
    dataset: DatasetFolder,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Parquet file of the labels; with 'all' a folder of them.")
    ],
    settings: Annotated[list[str] | None, settings_option("hours=48 (of one task)")] = None,
    questions: Annotated[
        bool,
        typer.Option(
            "--questions",
            help="One row for every eligible stay, also where nobody knows how it ended, and no answers: "
            "what to predict for.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Label every index stay of a dataset; unknown outcomes are absent, with counts and reasons.

    Examples:
      chartscan label readmission_30d DATASET labels.parquet
      chartscan label in_hospital_mortality DATASET l.parquet --set hours=48
      chartscan label all DATASET LABELS
    """
    from chartscan.recipes._labels import check_out, cohort_lines, make_labels, save_labels
    from chartscan.store.dataset import Dataset

    check_out(out, as_folder=task == "all")
    display = Display(quiet)
    wanted = None if task == "all" else [task]
    labels = make_labels(Dataset.open(dataset), wanted, display, settings or [], questions)
    save_labels(labels, out, task == "all", questions)
    for line in cohort_lines(labels):
        display.say(line)


@app.command(cls=WithRecipes)
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe of the list above.")],
    data: Annotated[Path, typer.Option(help="Folder of the dataset.")],
    out: Annotated[Path, typer.Option(help="A new folder for the trained model.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Label file or folder of them; default: all built-in tasks, labelled now."),
    ] = None,
    settings: Annotated[list[str] | None, settings_option("model.d_model=256")] = None,
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

    Examples:
      chartscan train ehrmamba-small --data DATASET --labels LABELS --out RUN
      chartscan train xgboost --data DATASET --labels LABELS --out TREES
    """
    device = device_of(device)
    from chartscan.recipes.train import can_start, run_train

    display = Display(quiet)
    run_train(recipe, data, out, labels, settings or [], display, resume, threads_of(threads), device, track)
    further = f", or fine-tune it further: --set start_from={out}" if can_start(recipe) else ""
    display.say(f"{out}: trained. Predict with it{further}")


@app.command()
def predict(
    artifact: ArtifactFolder,
    dataset: DatasetFolder,
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Labels or questions: a file, or a folder.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file; a folder when LABELS is one.")],
    split: Annotated[str, typer.Option(help="held_out, tuning, train or all.")] = "held_out",
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Predict the labelled outcomes of a split: for each, a calibrated probability and a decision.

    Examples:
      chartscan predict RUN DATASET labels.parquet p.parquet
      chartscan predict RUN DATASET LABELS P
    """
    from chartscan.recipes._labels import check_out
    from chartscan.recipes.predict import run_predict

    if labels.exists():
        check_out(out, as_folder=labels.is_dir())
    display = Display(quiet)
    for line in run_predict(artifact, dataset, labels, out, split, threads_of(threads), display):
        display.say(line)


@app.command()
def forecast(
    artifact: ArtifactFolder,
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file of the futures.")],
    at: Annotated[
        Path | None,
        typer.Option(help="Labels or questions that say when; default: at the end of each record."),
    ] = None,
    split: Annotated[str, typer.Option(help="held_out, tuning or train.")] = "held_out",
    samples: Annotated[int, typer.Option(min=1, help="Futures of each history.")] = 1,
    events: Annotated[
        int | None, typer.Option(min=1, help="End after so many events; 10 where nothing else is said.")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0, help="End so many days after the question.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="End after so many tokens in any case.")] = 1000,
    temperature: Annotated[float, typer.Option(min=0, help="Below 1 likelier, above 1 rarer tokens.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Draw among the likeliest with this share in all.")] = 1.0,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the likeliest token.")] = False,
    grammar: Annotated[
        bool, typer.Option("--grammar", help="Never a token that no record can have there.")
    ] = False,
    seed: Seed = 0,
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Say what may come next: events with approximate times, drawn or likeliest, with their probabilities.

    Examples:
      chartscan forecast RUN DATASET future.parquet --greedy
      chartscan forecast RUN DATASET f.parquet --at labels.parquet --days 30 --samples 100
    """
    from chartscan.generate import Plan
    from chartscan.recipes.forecast import ForecastJob, run_forecast

    plan = Plan(
        samples=samples,
        tokens=tokens,
        events=10 if events is None and days is None else events,
        days=days,
        temperature=0 if greedy else temperature,
        top_p=top_p,
        grammar=grammar,
        seed=seed,
    )
    display = Display(quiet)
    for line in run_forecast(
        ForecastJob(artifact, dataset, out, plan, at, split, threads_of(threads)), display
    ):
        display.say(line)


@app.command("forecast-report")
def forecast_report(
    artifact: ArtifactFolder,
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Option(help="Folder of forecasts.html, .md and .json.")],
    split: Annotated[str, typer.Option(help="held_out, tuning or train.")] = "held_out",
    grammar: Annotated[
        bool, typer.Option("--grammar", help="Never a token that no record can have there.")
    ] = False,
    bootstrap: Annotated[
        int, typer.Option(min=1, help="Resamples of subjects behind every interval.")
    ] = 1000,
    seed: Seed = 0,
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Forecast the last 10 tokens of each record from the rest, beside copying, frequencies and n-grams.

    Example:
      chartscan forecast-report RUN DATASET --out REPORT
    """
    from chartscan.recipes.forecast_report import ForecastReportJob, report_lines, run_forecast_report

    display = Display(quiet)
    job = ForecastReportJob(artifact, dataset, out, split, grammar, bootstrap, seed, threads_of(threads))
    for line in report_lines(run_forecast_report(job, display)):
        display.say(line)
    _warn_of_few(bootstrap)


@app.command("zero-shot")
def zero_shot(
    artifact: ArtifactFolder,
    dataset: DatasetFolder,
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Labels or questions of one built-in task.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file of predictions.")],
    split: Annotated[str, typer.Option(help="held_out, tuning or train.")] = "held_out",
    samples: Annotated[int, typer.Option(min=1, help="Futures of each question.")] = 100,
    days: Annotated[
        float | None, typer.Option(min=0, help="How far futures go; default: the task's horizon.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="End a future after so many tokens.")] = 1000,
    temperature: Annotated[float, typer.Option(min=0.01, help="Of the draws.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Draw among the likeliest with this share in all.")] = 1.0,
    seed: Seed = 0,
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Predict an outcome nobody trained for: the share of sampled futures in which the task finds it.

    Example:
      chartscan zero-shot RUN DATASET LABELS/readmission_30d.parquet p.parquet
    """
    from chartscan.generate import Plan
    from chartscan.recipes.zero_shot import ZeroShotJob, run_zero_shot

    plan = Plan(samples=samples, tokens=tokens, days=days, temperature=temperature, top_p=top_p, seed=seed)
    display = Display(quiet)
    job = ZeroShotJob(artifact, dataset, labels, out, plan, split, threads_of(threads))
    for line in run_zero_shot(job, display):
        display.say(line)


@app.command()
def evaluate(
    predictions: Annotated[
        list[Path],
        typer.Argument(metavar="PREDICTIONS", help="Prediction files, or folders of them, of one model."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of report.html and metrics.json.")],
    against: Annotated[
        list[Path] | None, typer.Option(help="Predictions of a baseline; may be given several times.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The dataset: adds data accounting and age and sex groups.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="The trained model of PREDICTIONS: adds settings, coverage and training curves."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="A simulated export with its true risks (needs --data): adds the ceiling."),
    ] = None,
    bootstrap: Annotated[
        int,
        typer.Option(min=1, help="Resamples of subjects behind every interval; at least 1000 to publish."),
    ] = 1000,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write report.html and metrics.json: discrimination and calibration with intervals, side by side.

    Examples:
      chartscan evaluate p.parquet --out REPORT
      chartscan evaluate P --against P-TREES --data DATASET --out REPORT
    """
    from chartscan.recipes.report import ReportPlan, run_evaluate

    plan = ReportPlan(predictions, out, against or [], data, model, truth, bootstrap, seed)
    display = Display(quiet)
    report, table = run_evaluate(plan, display)
    display.say(table)
    _warn_of_few(bootstrap)
    display.say(str(report))


def _warn_of_few(resamples: int) -> None:
    if resamples < FEW_RESAMPLES:
        print(
            f"warning: intervals of {resamples} resamples mean nothing; give --bootstrap 1000",
            file=sys.stderr,
        )


@app.command()
def explain(
    artifact: Annotated[
        Path,
        typer.Argument(metavar="ARTIFACT", help="Folder of a trained network: --out of chartscan train."),
    ],
    dataset: DatasetFolder,
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Labels or questions: a file, or a folder.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of explain.html, explain.json and attributions.parquet.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; may be given several times.")
    ] = None,
    subjects: Annotated[
        list[int] | None,
        typer.Option(help="Explain this subject's highest risk; may be given several times."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Answers a task, where no subjects are named.")] = 3,
    choose: Annotated[str, typer.Option(help="Those answers: highest risks, or random.")] = "highest",
    split: Annotated[str, typer.Option(help="held_out, tuning, train or all.")] = "held_out",
    truth: Annotated[
        Path | None,
        typer.Option(help="The simulated export of the dataset: do the explanations find the true causes?"),
    ] = None,
    seed: Seed = 0,
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Explain answers of a network event by event, with a page to look at and tests of the explanations.

    What is written shows the content of records: keep it where they may be kept.

    Examples:
      chartscan explain RUN DATASET LABELS --out WHY
      chartscan explain RUN DATASET LABELS --task readmission_30d --subjects 42 --out WHY
      chartscan explain RUN DATASET LABELS --choose random --count 50 --truth EXPORT --out WHY
    """
    from chartscan.recipes.explain import ExplainPlan, run_explain

    plan = ExplainPlan(
        artifact=artifact,
        dataset=dataset,
        labels=labels,
        out=out,
        tasks=task or [],
        subjects=subjects or [],
        count=count,
        choose=choose,
        split=split,
        truth=truth,
        seed=seed,
    )
    display = Display(quiet)
    for line in run_explain(plan, threads_of(threads), display):
        display.say(line)


@app.command(cls=WithStudies)
def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A study of the list above.")],
    out: Annotated[
        Path, typer.Option(help="Folder of cells and tables; several studies may share it and its models.")
    ],
    data: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Label file of one task.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Run this row; may be given several times.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of each row; 5 in most studies.")] = None,
    settings: Annotated[list[str] | None, settings_option("recipe=gru (hours) or sizes=[500]")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted training too.")] = False,
    threads: Threads = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    bootstrap: Annotated[
        int, typer.Option(min=1, help="Resamples of subjects behind every interval.")
    ] = 1000,
    quiet: Quiet = False,
) -> None:
    """Train, ask and compare whatever one published table holds: OUT/NAME.md and OUT/NAME.json.

    Each row is trained with several seeds and asked about held_out. Finished cells are kept and never done
    again, so that the same command goes on later, or with more seeds; after an interruption in the middle of
    a training add --resume. Begin a new OUT after changing code.

    Examples:
      chartscan study published --data DATASET --labels L --out STUDIES
      chartscan study ablations --data DATASET --labels L --out STUDIES --only 'without pretraining'
      chartscan study length --out STUDIES --seeds 1
    """
    device = device_of(device)
    from chartscan.recipes.study._command import StudyPlan, run_study

    display = Display(quiet)
    plan = StudyPlan(
        name=name,
        out=out,
        data=data,
        labels=labels,
        only=only or [],
        seeds=seeds,
        settings=settings or [],
        resume=resume,
        threads=threads_of(threads),
        device=device,
        bootstrap=bootstrap,
    )
    for text in run_study(plan, display):
        display.say(text)


@app.command()
def bench(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="forecast, ingest, scan, step or train.")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write the numbers to as well.")] = None,
    settings: Annotated[
        list[str] | None, settings_option("sizes_mb=[200] (ingest), forward=[[4,2048]] (scan) or threads=1")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure speed and memory beside peers in one run, on this machine.

    ingest: reading FHIR. scan: the selective scan. step: one event at a time.
    forecast: 100 events more after histories of 100 and 8,000.
    train: tokens a second of training and inference, and cost by length.
    Peers come with the extra 'bench'; those that are not installed are left out.
    Nothing else should run meanwhile; the load is written beside the numbers.

    Examples:
      chartscan bench ingest --set sizes_mb=[200]
      chartscan bench scan --set threads=1 --out scan.json
      chartscan bench step --set rows=[1]
      chartscan bench train --set lengths=[512,1024] --out train.json
    """
    from chartscan.recipes.bench.command import run_bench

    display = Display(quiet)
    with display.progress(f"Bench {what}", "measurements") as progress:
        lines = list(run_bench(what, out, settings or [], progress))
    for line in lines:
        print(line)


if __name__ == "__main__":
    main()
