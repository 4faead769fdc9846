"""Attention as explanation: fusion weights against integrated gradients, occlusion and random ranks."""

from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from chartscan.evaluation.bootstrap import Floats, Samples, bootstrap, estimate
from chartscan.evaluation.result import Estimate
from chartscan.evaluation.text import number_text, signed_text
from chartscan.interpret.faithfulness import SHARES
from chartscan_lab.study._cells import Cell, Place
from chartscan_lab.study._explained import (
    METHODS,
    RANDOM,
    Explained,
    agreement,
    chosen_stays,
    explained,
    load,
    save,
)
from chartscan_lab.study._report import Report
from chartscan_lab.study._rows import Facts, Row
from chartscan_lab.study._trained import TrainedStudy, report, scored
from chartscan_lab.tables import markdown_table

HEADINGS = (
    "explanation",
    "log odds without the top events",
    "better than random by [95 %]",
    "log odds off with them alone",
    "better than random by [95 %]",
    "same ranks in other seeds",
    "same ranks with shuffled weights",
    "gap",
)


class Attention(TrainedStudy, frozen=True):
    """Which recipe is explained, for how many held-out stays."""

    TITLE: ClassVar[str] = "Does attention explain?"
    ABOUT: ClassVar[str] = (
        "Every seed's model is explained for the same held-out stays, event by event, and the explanations "
        "are put to the test. Nothing is trained or chosen by them."
    )
    BASELINE: ClassVar[str] = "hymate-paper"
    SEEDS: ClassVar[int] = 10

    recipe: str = "hymate-paper"
    stays: int = 100

    def rows(self, facts: Facts) -> list[Row]:
        """One row; the seeds are what matters."""
        return [Row(name=self.recipe, recipe=self.recipe)]

    def run(self, place: Place) -> Report:
        """Trains and explains what is not finished."""
        assert place.data is not None
        rows, cells = self.finish(place)
        scores = scored(rows, cells, self.BASELINE, place, place.data.task)
        plain = report(self, rows, scores, place)
        found = [self._explained(cell, place) for cell in cells]
        values = summary(found, place.replicates)
        text = [plain.markdown, *_tables(values, found)]
        return Report("\n\n".join(text) + "\n", plain.values | {"explanations": values})

    def _explained(self, cell: Cell, place: Place) -> Explained:
        """The explanations of one cell, made or read."""
        assert place.data is not None
        path = explanations_path(place.out, cell, self.stays)
        if not path.exists():
            place.watcher.say(f"explaining seed {cell.seed}")
            with place.watcher.progress(f"Explaining seed {cell.seed}", "stays") as progress:
                asked = chosen_stays(cell.asked[place.data.task], self.stays)
                save(path, explained(cell.artifact, asked, place.data, progress))
        return load(path)


STUDY = Attention()


def explanations_path(out: Path, cell: Cell, stays: int) -> Path:
    """Where the explanations of a cell are kept."""
    return out / "explanations" / f"{cell.answers.name}-{stays}.npz"


def summary(found: list[Explained], replicates: int) -> dict[str, Any]:
    """Everything the tables say; `found` has one entry a seed, all of the same stays."""
    methods: dict[str, dict[str, Any]] = {
        name: {
            "comprehensiveness": _mean_by_share([one.comprehensiveness[name] for one in found]),
            "sufficiency": _mean_by_share([one.sufficiency[name] for one in found]),
        }
        for name in (*METHODS, RANDOM)
    }
    for name in METHODS:
        methods[name] |= {
            "comprehensiveness_over_random": _over_random(found, "comprehensiveness", name, replicates),
            "sufficiency_over_random": _over_random(found, "sufficiency", name, replicates),
            "between_seeds": between_seeds(found, name),
            "with_shuffled_weights": _with_shuffled(found, name),
            "gap": _gap(found, name),
        }
    pairs = {f"{a} and {b}": between_methods(found, a, b) for a, b in combinations(METHODS, 2)}
    return {"seeds": len(found), "shares": list(SHARES), "methods": methods, "between_methods": pairs}


def between_seeds(found: list[Explained], method: str) -> float | None:
    """Mean rank correlation of one method's attributions over all pairs of seeds; None for one seed."""
    padded = [one.padded(method) for one in found]
    pairs = [agreement(a, b, found[0].lengths) for a, b in combinations(padded, 2)]
    return _number(pairs)


def between_methods(found: list[Explained], one: str, other: str) -> float | None:
    """Mean rank correlation of two methods' attributions of the same model, over seeds."""
    return _number([agreement(e.padded(one), e.padded(other), e.lengths) for e in found])


def _with_shuffled(found: list[Explained], method: str) -> float | None:
    """The same between a model and itself with shuffled weights; None for what is not made of the latter."""
    pairs = [
        agreement(e.padded(method), e.padded(method, randomised=True), e.lengths)
        for e in found
        if method in e.randomised
    ]
    return _number(pairs)


def _gap(found: list[Explained], method: str) -> float | None:
    return _number([one.gaps[method] for one in found if method in one.gaps])


def _number(found: list[float]) -> float | None:
    defined = [value for value in found if np.isfinite(value)]
    return float(np.mean(defined)) if defined else None


def _mean_by_share(found: list[Floats]) -> list[float]:
    return np.mean(found, axis=(0, 1)).tolist()


def _over_random(found: list[Explained], test: str, method: str, replicates: int) -> Estimate:
    """How much better than random ranks, mean over shares and seeds, with its interval over stays."""
    sign = 1 if test == "comprehensiveness" else -1
    by_seed = [sign * (getattr(one, test)[method] - getattr(one, test)[RANDOM]) for one in found]
    by_stay = np.mean(by_seed, axis=(0, 2))

    def statistic(multiplicities: Floats) -> Samples:
        return {"mean": multiplicities @ by_stay / multiplicities.sum(1)}

    return estimate(float(by_stay.mean()), bootstrap(statistic, len(by_stay), replicates, 0)["mean"])


def _tables(values: dict[str, Any], found: list[Explained]) -> list[str]:
    rows = [_line(name, one) for name, one in values["methods"].items()]
    shares = ", ".join(f"{100 * share:g}" for share in SHARES)
    text = (
        f"Explanations of {len(found[0].lengths)} held-out stays by {values['seeds']} seeds. Top events are "
        f"the {shares} % of a stay's events with the largest absolute attribution; columns are means over "
        "these shares: how far the log odds move without them (comprehensiveness, larger is better) and how "
        "far they are off with them alone (sufficiency, smaller is better). Intervals are over stays. Ranks: "
        "Spearman's correlation within stays. An explanation that keeps its ranks with shuffled weights does "
        "not come from what was learned. Gap: how far integrated gradients are from adding up."
    )
    pairs = [[name, number_text(value)] for name, value in values["between_methods"].items()]
    return [
        markdown_table(HEADINGS, rows),
        text,
        markdown_table(("explanations", "rank correlation"), pairs),
    ]


def _line(name: str, one: dict[str, Any]) -> list[str]:
    removed, alone = (float(np.mean(one[test])) for test in ("comprehensiveness", "sufficiency"))
    if name == RANDOM:
        return [name, number_text(removed), "-", number_text(alone), "-", "-", "-", "-"]
    gap = one["gap"]
    return [
        name,
        number_text(removed),
        signed_text(one["comprehensiveness_over_random"]),
        number_text(alone),
        signed_text(one["sufficiency_over_random"]),
        number_text(one["between_seeds"]),
        number_text(one["with_shuffled_weights"]),
        "-" if gap is None else f"{100 * gap:.2f} %",
    ]
