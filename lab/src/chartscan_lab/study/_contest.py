"""Whether a model beats the best baseline, without choosing the baseline on the evaluated patients.

To beat the best of several baselines is to beat each of them: the p-value of the claim is the largest of
those against single baselines (an intersection-union test; Berger 1982, Technometrics 24:295).
"""

from collections.abc import Mapping, Sequence

import msgspec

from chartscan.evaluation.compare import holm, paired_difference
from chartscan.evaluation.evaluation import Sampling
from chartscan.evaluation.result import Difference, Estimate
from chartscan_lab.study._score import Answered, check_paired, joined, resampled

METRICS = ("auroc", "average_precision")  # higher is better


class Contest(msgspec.Struct, frozen=True):
    """One row against every baseline, on one task by one metric."""

    row: str
    task: str
    metric: str
    baselines: list[str]
    hardest: str  # the baseline of the greatest value on these patients
    difference: Estimate  # to that one
    p: float | None  # that the row is better than each of the baselines; None: not estimable
    p_holm: float | None = None  # corrected for the tasks of this row and metric


def contests(
    task: str, answered: Mapping[str, Answered], rows: Sequence[str], baselines: Sequence[str], how: Sampling
) -> list[Contest]:
    """Every row of `rows` against `baselines`, paired by patient. All are among `answered`."""
    sets = {name: joined(answered[name]) for name in (*baselines, *rows)}
    found = {name: resampled(one, how) for name, one in sets.items()}
    results = []
    for row in rows:
        for name in baselines:
            check_paired(row, sets[row][0], name, sets[name][0])
        for metric in METRICS:
            differences = [
                paired_difference(row, name, metric, found[row], found[name]) for name in baselines
            ]
            results.append(contest(task, differences))
    return results


def contest(task: str, differences: Sequence[Difference]) -> Contest:
    """The claim of one row that it is better than each of its baselines, by its differences to them."""
    shares = [_p_better(one) for one in differences]
    known = [p for p in shares if p is not None]
    hardest = min(differences, key=_value)
    return Contest(
        row=hardest.model,
        task=task,
        metric=hardest.metric,
        baselines=[one.baseline for one in differences],
        hardest=hardest.baseline,
        difference=hardest.estimate,
        p=max(known) if len(known) == len(shares) else None,
    )


def corrected(found: Sequence[Contest]) -> list[Contest]:
    """With p-values corrected by Holm over the tasks of each row and metric."""
    results = list(found)
    for family in set(map(_family, found)):
        known = {i: one.p for i, one in enumerate(found) if one.p is not None and _family(one) == family}
        for place, p in zip(known, holm(list(known.values())), strict=True):
            results[place] = msgspec.structs.replace(found[place], p_holm=p)
    return results


def _family(one: Contest) -> tuple[str, str]:
    return one.row, one.metric


def _value(one: Difference) -> float:
    return float("inf") if one.estimate.value is None else one.estimate.value


def _p_better(one: Difference) -> float | None:
    """Two-sided share of resamples, read as a p-value; 1 where the row is not even better on the data."""
    if one.p is None or one.estimate.value is None:
        return None
    return one.p if one.estimate.value > 0 else 1.0
