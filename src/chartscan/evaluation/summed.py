"""Statistics that are functions of sums over rows: Brier, F1, calibration, threshold rates, net benefit.

Rows are summed by subject once; a resample is then one matrix product. Bins are those of the whole set. The
recalibration of a resample is one Newton step from that of the whole set (Moulton and Zeger 1991,
Computational Statistics and Data Analysis 11:53), which needs sums only and is exact for the whole set.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chartscan.evaluation.bootstrap import Floats, Samples, Statistic
from chartscan.metrics._arrays import Rows, log_odds, sigmoid
from chartscan.metrics._recalibration import recalibration
from chartscan.metrics.reliability_curve import BINS, equal_mass_bins

THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # fixed, so that none is chosen on the rows reported
DECIDED = "decided"  # stands for the decision that came with the prediction


class Answers(NamedTuple):
    """What one model said about rows (n,)."""

    labels: NDArray[np.bool_]
    probabilities: Floats
    decisions: NDArray[np.bool_] | None  # None: the model gave probabilities only


def summed_statistics(answers: Answers, subjects: NDArray[np.int64], count: int) -> Statistic:
    """The statistics of rows whose subjects are numbered 0..`count`-1 by `subjects` (n,)."""
    labels = answers.labels.astype(np.float64)
    everyone = Rows(labels, answers.probabilities, np.ones(len(labels)))
    fits = recalibration(everyone), recalibration(everyone, slope_free=False)
    columns = {
        "rows": np.ones(len(labels)),
        "positive": labels,
        "expected": answers.probabilities,
        "squared": (answers.probabilities - labels) ** 2,
        **_recalibration_columns(everyone, *fits),
        **_bin_columns(everyone),
        **_flag_columns(answers),
    }
    names = {name: k for k, name in enumerate(columns)}
    sums = np.stack([np.bincount(subjects, column, minlength=count) for column in columns.values()], axis=1)

    def statistic(multiplicities: Floats) -> Samples:
        totals = (multiplicities @ sums).T
        total = {name: totals[k] for name, k in names.items()}
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "brier": total["squared"] / total["rows"],
                "observed_expected": _ratio(total["positive"], total["expected"]),
                **_recalibrated(total, *fits),
                **_binned(total),
                **_flagged(total, answers.decisions is not None),
            }

    return statistic


def _recalibration_columns(
    rows: Rows, line: tuple[float, float], shift: tuple[float, float]
) -> dict[str, Floats]:
    """First and second derivatives of the log likelihood at the fits."""
    z = log_odds(rows.scores)
    p = sigmoid(line[0] + line[1] * z)
    q = sigmoid(shift[0] + z)
    return {
        "line_u0": rows.labels - p,
        "line_u1": (rows.labels - p) * z,
        "line_h00": p * (1 - p),
        "line_h01": p * (1 - p) * z,
        "line_h11": p * (1 - p) * z * z,
        "shift_u": rows.labels - q,
        "shift_h": q * (1 - q),
    }


def _recalibrated(total: Samples, line: tuple[float, float], shift: tuple[float, float]) -> Samples:
    h00, h01, h11 = total["line_h00"], total["line_h01"], total["line_h11"]
    determinant = h00 * h11 - h01 * h01
    return {
        "calibration_intercept": line[0] + (h11 * total["line_u0"] - h01 * total["line_u1"]) / determinant,
        "calibration_slope": line[1] + (h00 * total["line_u1"] - h01 * total["line_u0"]) / determinant,
        "calibration_in_the_large": shift[0] + total["shift_u"] / total["shift_h"],
    }


def _bin_columns(rows: Rows) -> dict[str, Floats]:
    bin_of = equal_mass_bins(rows, BINS)
    columns: dict[str, Floats] = {}
    for k in range(BINS):
        inside = (bin_of == k).astype(np.float64)
        columns[f"bin_{k}_rows"] = inside
        columns[f"bin_{k}_positive"] = inside * rows.labels
        columns[f"bin_{k}_expected"] = inside * rows.scores
    return columns


def _binned(total: Samples) -> Samples:
    gaps = [np.abs(total[f"bin_{k}_positive"] - total[f"bin_{k}_expected"]) for k in range(BINS)]
    observed = {
        f"observed_in_bin_{k}": total[f"bin_{k}_positive"] / total[f"bin_{k}_rows"] for k in range(BINS)
    }
    return {"expected_calibration_error": sum(gaps) / total["rows"], **observed}


def _flag_columns(answers: Answers) -> dict[str, Floats]:
    flags = {str(t): answers.probabilities >= t for t in THRESHOLDS}
    if answers.decisions is not None:
        flags[DECIDED] = answers.decisions
    columns: dict[str, Floats] = {}
    for name, flag in flags.items():
        columns[f"true_{name}"] = (flag & answers.labels).astype(np.float64)
        columns[f"false_{name}"] = (flag & ~answers.labels).astype(np.float64)
    return columns


def _flagged(total: Samples, decided: bool) -> Samples:
    samples: Samples = {"f1": np.full(len(total["rows"]), np.nan)}
    positive, negative = total["positive"], total["rows"] - total["positive"]
    for name in [*map(str, THRESHOLDS), *([DECIDED] if decided else [])]:
        true, false = total[f"true_{name}"], total[f"false_{name}"]
        samples[f"sensitivity_at_{name}"] = _ratio(true, positive)
        samples[f"specificity_at_{name}"] = _ratio(negative - false, negative)
        samples[f"ppv_at_{name}"] = _ratio(true, true + false)
        samples[f"alerts_per_100_at_{name}"] = 100 * (true + false) / total["rows"]
    if decided:
        both = total[f"true_{DECIDED}"] + total[f"false_{DECIDED}"] + positive
        samples["f1"] = np.where(positive > 0, 2 * total[f"true_{DECIDED}"] / both, np.nan)
    return samples


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.where(whole > 0, part / whole, np.nan)
