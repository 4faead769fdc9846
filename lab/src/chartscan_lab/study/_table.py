"""Numbers of a study as a Markdown table with its caption."""

from collections.abc import Sequence

from chartscan.evaluation.result import Difference
from chartscan.evaluation.text import NOTHING, interval_text, number_text, signed_text
from chartscan_lab.study._score import RowScore, Spread
from chartscan_lab.tables import markdown_table

DIGITS = 4
FINE_TUNING = "fine-tuning"

SEEDS_CAPTION = (
    "Mean ± SD is over training seeds and says how far training wanders. The ensemble is the mean of the "
    "seeds' log odds; its 95 % interval is a bootstrap over {subjects} held-out patients ({replicates} "
    "resamples) and says how far other patients would move the number."
)
SPLITS_CAPTION = (
    "Each seed splits the whole dataset anew, the same for every row; mean ± SD is over these splits. The "
    "95 % interval of the mean over splits is a bootstrap in which a patient is drawn or not drawn in every "
    "split alike ({replicates} resamples)."
)
COSTS_CAPTION = (
    " AP is average precision. Seconds per epoch include evaluation; in brackets those of pretraining "
    "or refitting. Where a recipe has no epochs, it is the whole training."
)


def caption(rows: Sequence[RowScore], pooled: bool, replicates: int) -> str:
    """What the columns mean. There is at least one row."""
    text = SPLITS_CAPTION if pooled else SEEDS_CAPTION
    found = text.format(subjects=f"{rows[0].predictions:,}", replicates=f"{replicates:,}")
    baselines = _baselines(rows)
    if baselines:
        what = f"the row '{baselines[0]}'" if len(baselines) == 1 else "the row named beside them"
        found += f" Differences are to {what} on the same patients and resamples."
    return found + COSTS_CAPTION


def table(rows: Sequence[RowScore], pooled: bool) -> str:
    """The rows as Markdown. Where they have different baselines, a column names them."""
    together = "mean over splits" if pooled else "ensemble"
    several = len(_baselines(rows)) > 1
    headings = (
        "row", "splits" if pooled else "seeds", "AUROC", "AP", "Brier", f"AUROC, {together} [95 %]",
        f"AP, {together} [95 %]", f"Brier, {together}", "AUROC, difference [95 %]", "AP, difference [95 %]",
        *(["difference to"] if several else []), "s per epoch", "parameters",
    )  # fmt: skip
    return markdown_table(headings, [_cells(row, several) for row in rows])


def _baselines(rows: Sequence[RowScore]) -> list[str]:
    return sorted({row.baseline for row in rows if row.baseline})


def _cells(row: RowScore, several: bool) -> list[str]:
    by_metric = {one.metric: one for one in row.differences}
    return [
        row.name,
        str(len(row.seeds)),
        *(spread_text(row.spread[name]) for name in ("auroc", "average_precision", "brier")),
        interval_text(row.together["auroc"], DIGITS),
        interval_text(row.together["average_precision"], DIGITS),
        number_text(row.together["brier"].value, DIGITS),
        _difference(by_metric.get("auroc")),
        _difference(by_metric.get("average_precision")),
        *([row.baseline or NOTHING] if several else []),
        _seconds(row),
        NOTHING if row.parameters is None else f"{row.parameters:,}",
    ]


def spread_text(found: Spread, digits: int = DIGITS) -> str:
    """`0.8123 ± 0.0042`, over seeds."""
    mean = number_text(found.mean, digits)
    return mean if found.sd is None else f"{mean} ± {found.sd:.{digits}f}"


def _difference(found: Difference | None) -> str:
    return NOTHING if found is None else signed_text(found.estimate, DIGITS)


def _seconds(row: RowScore) -> str:
    """`12.1 (40.3)`: of fine-tuning, and of pretraining; all the training where there are no epochs."""
    phases = dict(row.seconds_per_epoch)
    if not phases:
        return NOTHING if row.training_seconds is None else f"{row.training_seconds:,.1f} in all"
    tuned = phases.pop(FINE_TUNING, None)
    rest = f" ({', '.join(f'{seconds:,.1f}' for seconds in phases.values())})" if phases else ""
    return number_text(tuned, 1) + rest
