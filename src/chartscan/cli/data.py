"""Commands that make data: simulate an export, ingest it, label the dataset."""

from pathlib import Path
from typing import Annotated

import typer

from chartscan.cli.options import (
    DatasetFolder,
    Quiet,
    Seed,
    Subjects,
    TaskFiles,
    settings_option,
    sources_like,
    tasks_like,
)
from chartscan.console import Display
from chartscan.labels import MAX_UNKNOWN


def simulate(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder for the export: NDJSON files and truth/.")
    ],
    subjects: Subjects = 1000,
    seed: Seed = 0,
    compress: Annotated[bool, typer.Option(help="Write .ndjson.gz.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a synthetic hospital as FHIR R4 bulk NDJSON, with its true risks.

    Example:
      chartscan simulate EXPORT --subjects 2000 --seed 1
    """
    from chartscan.simulator import SimulateConfig
    from chartscan.simulator import simulate as run

    display = Display(quiet)
    with display.progress("Simulating", "subjects") as progress:
        counts = run(out, SimulateConfig(subjects=subjects, seed=seed, compress=compress), progress)
    display.say(
        f"{out}: {subjects:,} subjects, {sum(counts.values()):,} resources; true risks in {out}/truth"
    )


def ingest(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Format of IN: fhir, physionet2012, or the Python file of a source of your own.",
            autocompletion=sources_like,
        ),
    ],
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
            help="Date until which all subjects were followed, such as 2024-12-31. FHIR exports usually "
            "hold it.",
        ),
    ] = None,
    follow_up_days: Annotated[
        int | None,
        typer.Option(min=0, help="Days each subject was followed after the last event (MIMIC-IV: 365)."),
    ] = None,
    strict: Annotated[bool, typer.Option(help="Refuse the export if any line is unusable.")] = False,
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
            help="Which sets, or shares of sets, are train, tuning and held_out, where the source has sets: "
            "'train=a:0.8,tuning=a:0.2,held_out=b', or 'train=0.7,tuning=0.15,held_out=0.15'.",
        ),
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The hospital's own words (classes, dispositions, code systems, sex, units) and how its "
            "stays are formed: YAML, see docs/site.md.",
        ),
    ] = None,
    suggest_site: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a starter for --site: each word that was not understood, with its records.",
        ),
    ] = None,
    settings: Annotated[list[str] | None, settings_option("time_zone=Europe/Vienna")] = None,
    quiet: Quiet = False,
) -> None:
    """Turn records into a MEDS dataset: sorted, sharded, described, every input line accounted for.

    Lines that cannot be used go to OUT/quarantine with file, line and reason. Then the exit code is 3.

    Examples:
      chartscan ingest fhir EXPORT DATASET
      chartscan ingest fhir EXPORT DATASET --follow-up-end 2024-12-31
      chartscan ingest fhir EXPORT DATASET --suggest-site site.yaml
      chartscan ingest physionet2012 SETS DATASET
      chartscan ingest my_source.py FOLDER DATASET
    """
    from chartscan.commands.ingest import IngestPlan, accounting_lines, run_ingest
    from chartscan.store.accounting import recognition_lines

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
        site,
        suggest_site,
    )
    dataset, accounting = run_ingest(plan, display)
    display.say(*accounting_lines(accounting, dataset))
    display.say(*recognition_lines(dataset.manifest["recognition"]))
    if accounting.quarantined:
        display.say(f"{accounting.quarantined} lines are in quarantine: {out}/quarantine")
        raise typer.Exit(3)


def label(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="A task of the list above, the Python file of one of your own, or 'all'.",
            autocompletion=tasks_like,
        ),
    ],
    dataset: DatasetFolder,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Parquet file of the labels; with 'all' a folder of them.")
    ],
    settings: Annotated[
        list[str] | None, settings_option("hours=48 (of one task) or stays.merge_gap_hours=6")
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Site file whose section 'stays' says how stays are formed; default: that of "
            "chartscan ingest.",
        ),
    ] = None,
    max_unknown: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="A task is refused if more than this share of what it depends on is unknown."
        ),
    ] = MAX_UNKNOWN,
    questions: Annotated[
        bool,
        typer.Option(
            "--questions",
            help="Write every eligible stay without its answer, also if the outcome is unknown: the stays to "
            "predict.",
        ),
    ] = False,
    task_files: TaskFiles = None,
    quiet: Quiet = False,
) -> None:
    """Label every index stay of a dataset; unknown outcomes are absent, with counts and reasons.

    A task is refused where too many words that it depends on were not understood. Exit code 3: some tasks
    were refused; 5: all.

    Examples:
      chartscan label readmission_30d DATASET labels.parquet
      chartscan label in_hospital_mortality DATASET l.parquet --set hours=48
      chartscan label all DATASET LABELS --set stays.merge_gap_hours=6
      chartscan label my_task.py DATASET labels.parquet
      chartscan label all DATASET LABELS --task my_task.py
    """
    from chartscan.commands.label import LabelPlan, run_label
    from chartscan.labels.files import cohort_lines

    display = Display(quiet)
    plan = LabelPlan(task, dataset, out, settings or [], site, max_unknown, questions, task_files or [])
    labels, refused = run_label(plan, display)
    display.say(*cohort_lines(labels))
    if refused:
        raise typer.Exit(3)
