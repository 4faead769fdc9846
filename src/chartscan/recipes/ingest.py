"""Raw records -> a published dataset: source, store and follow-up rule put together."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from chartscan.errors import ConfigError
from chartscan.find import find
from chartscan.recipes._job import Watcher
from chartscan.settings import with_settings
from chartscan.store.accounting import Accounting
from chartscan.store.config import DaysAfterLastEvent, ExportTime, FollowUp, StoreConfig
from chartscan.store.dataset import Dataset
from chartscan.store.writer import DatasetWriter


@dataclass(frozen=True)
class IngestPlan:
    """What the user asked for."""

    source: str
    path: Path
    out: Path
    settings: list[str]  # of the source
    store: list[str]  # of the store
    follow_up_end: str | None = None
    follow_up_days: int | None = None
    strict: bool = False
    overwrite: bool = False


def run_ingest(plan: IngestPlan, watcher: Watcher) -> tuple[Dataset, Accounting]:
    """Reads `plan.path` and publishes `plan.out`; on any error what was at `plan.out` stays as it was."""
    source = find("sources", plan.source)
    config = with_settings(source.Config(), plan.settings)
    store = msgspec.structs.replace(
        with_settings(StoreConfig(), plan.store), strict=plan.strict, follow_up=follow_up(plan)
    )
    with watcher.progress("Sorting", "events") as sorting:
        writer = DatasetWriter(
            plan.out,
            source=plan.source,
            settings=msgspec.to_builtins(config),
            config=store,
            overwrite=plan.overwrite,
            progress=sorting,
        )
        with writer, watcher.progress("Reading", "bytes") as reading:
            source.read(plan.path, writer, config, reading)
    return Dataset.open(plan.out), writer.accounting


def follow_up(plan: IngestPlan) -> FollowUp | None:
    """The rule the user set, if any."""
    if plan.follow_up_end is not None and plan.follow_up_days is not None:
        raise ConfigError("Give --follow-up-end or --follow-up-days, not both.")
    if plan.follow_up_days is not None:
        return DaysAfterLastEvent(plan.follow_up_days)
    if plan.follow_up_end is None:
        return None
    try:
        time = datetime.fromisoformat(plan.follow_up_end)
    except ValueError:
        raise ConfigError("--follow-up-end: expected a date such as 2024-12-31.") from None
    return ExportTime(time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC))


COLUMNS = ("lines_in", "accepted", "merged_duplicates", "filtered", "quarantined")


def accounting_lines(accounting: Accounting, dataset: Dataset) -> list[str]:
    """The accounting identity by type of record, and what the dataset holds."""
    by_type: dict[str, list[int]] = {}
    for row in accounting.table():
        numbers = [row[c] if isinstance(row[c], int) else sum(row[c].values()) for c in COLUMNS]
        before = by_type.get(row["type"], [0] * len(COLUMNS))
        by_type[row["type"]] = [a + b for a, b in zip(before, numbers, strict=True)]
    heads = ("lines in", "= accepted", "+ merged", "+ filtered", "+ quarantined")
    lines = [f"{'type':<28}" + "".join(f"{head:>14}" for head in heads)]
    lines += [f"{name:<28}" + "".join(f"{n:>14,}" for n in row) for name, row in sorted(by_type.items())]
    n = dataset.manifest["counts"]
    return [
        *lines,
        f"{dataset.path}: {n['subjects']:,} subjects, {n['events']:,} events, {n['codes']:,} codes",
    ]
