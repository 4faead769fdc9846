"""The headline: how far EHRMamba gets on 20,000 simulated subjects, beside XGBoost and the best possible.

    python lab/benchmarks/main_job.py OUT [--subjects 20000] [--seed 2] [--jobs 2]

Runs the commands a user runs, independent ones side by side, each with one thread, and skips what OUT
already holds, so that an interrupted benchmark goes on. Ends with OUT/report/report.html (all labels) and
OUT/results.md: AUROC on the held-out subjects, share of the way from 0.5 to the ceiling, paired differences
to XGBoost, and the gain of pretraining at 250, 1,000 and all labels a task. Nothing is chosen on the held-out
subjects: settings are those of the recipes; early stopping and calibration use the tuning subjects.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chartscan.evaluation import Evaluation, evaluate, read_predictions
from chartscan.evaluation.result import TaskResult
from chartscan.evaluation.truth import ceilings
from chartscan.find import names
from chartscan.schema import LABELS
from chartscan.store.dataset import Dataset

MODEL = "ehrmamba-tiny"
LIMITS = (250, 1000, None)  # labels a task
TABULAR = ("xgboost", "logistic")
EPOCHS = {250: 12, 1000: 6}  # more passes over fewer labels; early stopping as in the recipe


def main() -> None:
    """Runs what is missing, then writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--subjects", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    step(out / "export", "simulate", out / "export", "--subjects", options.subjects, "--seed", options.seed)
    step(out / "dataset", "ingest", "fhir", out / "export", out / "dataset")
    step(out / "labels", "label", "all", out / "dataset", out / "labels")
    train_all(out, options.jobs)
    report(out)
    (out / "results.md").write_text(results(out))
    print((out / "results.md").read_text())


def name_of(kind: str, limit: int | None) -> str:
    """Folder of one trained model."""
    return f"{kind}-{limit or 'all'}"


def train_all(out: Path, jobs: int) -> None:
    """Pretraining, and every model that does without it, side by side; then those that start from it."""
    without = [("scratch", None), *((kind, limit) for kind in TABULAR for limit in LIMITS)]
    after = [("ehrmamba", None), ("ehrmamba", 1000), ("scratch", 1000), ("ehrmamba", 250), ("scratch", 250)]
    with ThreadPoolExecutor(jobs) as pool:
        pretrained = pool.submit(train, out, "pretrained", MODEL, "--set", "finetune=null")
        running = [pool.submit(model, out, kind, limit) for kind, limit in without]
        pretrained.result()
        running += [pool.submit(model, out, kind, limit) for kind, limit in after]
        for one in running:
            one.result()


def model(out: Path, kind: str, limit: int | None) -> None:
    """One model, trained and asked about the held-out subjects."""
    few = ["--set", f"label_limit={limit}"] if limit else []
    epochs = ["--set", f"finetune.epochs={EPOCHS[limit]}"] if limit in EPOCHS else []
    if kind in TABULAR:
        train(out, name_of(kind, limit), kind, *few)
    else:
        start = ["--set", f"start_from={out / 'pretrained'}"] if kind == "ehrmamba" else []
        train(out, name_of(kind, limit), MODEL, "--set", "pretrain=null", *start, *few, *epochs)
    run = out / name_of(kind, limit)
    step(
        predictions(out, kind, limit),
        "predict",
        run,
        out / "dataset",
        out / "labels",
        predictions(out, kind, limit),
        "--threads",
        1,
    )


def predictions(out: Path, kind: str, limit: int | None) -> Path:
    """Folder of one model's predictions."""
    return out / "predictions" / name_of(kind, limit)


def train(out: Path, name: str, recipe: str, *settings: str) -> None:
    """`chartscan train`, going on where an earlier run stopped."""
    resume = ["--resume"] if (out / f"{name}.work").exists() else []
    common = ["--data", out / "dataset", "--labels", out / "labels", "--out", out / name, "--threads", 1]
    step(out / name, "train", recipe, *common, *settings, *resume)


def step(product: Path, *arguments: object) -> None:
    """One command, unless its product is there; output goes to a log beside it, time to times.jsonl."""
    if product.exists():
        return
    begin = time.monotonic()
    log = product.parent / f"{product.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-m", "chartscan", *map(str, arguments)]
    with log.open("ab") as file:
        done = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"failed: {' '.join(command)}; see {log}")
    seconds = round(time.monotonic() - begin)
    with (product.parent / "times.jsonl").open("a") as file:
        file.write(json.dumps({"step": product.name, "command": arguments[0], "seconds": seconds}) + "\n")
    print(f"{product.name}: {seconds} s", flush=True)


def report(out: Path) -> None:
    """The report a user would make, of the models trained on all labels."""
    step(
        out / "report",
        *("evaluate", predictions(out, "ehrmamba", None), "--against", predictions(out, "xgboost", None)),
        *("--data", out / "dataset", "--model", out / name_of("ehrmamba", None)),
        *("--truth", out / "export" / "truth", "--out", out / "report"),
    )


def results(out: Path) -> str:
    """Both tables as Markdown."""
    main_result = compared(out, [("ehrmamba", None), ("xgboost", None)])
    lines = [
        "| task | n | events | EHRMamba | XGBoost on counts | ceiling | of the way | EHRMamba - XGBoost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [main_row(task) for task in main_result.tasks]
    lines += [
        "",
        "| task | labels a task | pretrained | random weights | XGBoost | logistic | gain of pretraining |",
        "|---|---|---|---|---|---|---|",
    ]
    for limit in LIMITS:
        found = compared(out, [(kind, limit) for kind in ("ehrmamba", "scratch", *TABULAR)])
        lines += [few_row(task, limit) for task in found.tasks]
    return "\n".join(lines) + "\n"


def compared(out: Path, wanted: list[tuple[str, int | None]]) -> Evaluation:
    """Models on the same held-out predictions, the first one against the others."""
    sets = []
    for kind, limit in wanted:
        for task in names("tasks"):
            one = read_predictions(predictions(out, kind, limit) / f"{task}.parquet")
            sets.append(type(one)(task, kind, one.table, one.cohort, one.run))
    labels = {one.task: one.table.select(LABELS.names) for one in sets}
    truth = ceilings(out / "export" / "truth", Dataset.open(out / "dataset"), labels)
    return evaluate(sets, ceiling=truth, bootstrap=1000)


def main_row(task: TaskResult) -> str:
    """Everything about one task with all labels."""
    ours, trees = task.models
    assert task.ceiling is not None
    cells = [
        task.task,
        f"{task.predictions:,}",
        f"{task.events:,}",
        auroc(ours),
        auroc(trees),
        auroc(task.ceiling),
    ]
    share = ours.share_of_ceiling.value if ours.share_of_ceiling else None
    return "| " + " | ".join([*cells, f"{share:.0%}", difference(task, "xgboost")]) + " |"


def few_row(task: TaskResult, limit: int | None) -> str:
    """What pretraining brings at one number of labels."""
    cells = [
        task.task,
        f"{limit:,}" if limit else "all",
        *map(auroc, task.models),
        difference(task, "scratch"),
    ]
    return "| " + " | ".join(cells) + " |"


def auroc(one: object) -> str:
    """Value and interval."""
    found = one.estimates["auroc"]  # type: ignore[attr-defined]
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def difference(task: TaskResult, baseline: str) -> str:
    """AUROC of the first model less that of `baseline`, paired."""
    found = next(d.estimate for d in task.differences if d.baseline == baseline and d.metric == "auroc")
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


if __name__ == "__main__":
    main()
