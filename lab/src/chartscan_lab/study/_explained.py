"""Explanations of one trained model for some held-out stays, put to the test, and kept on disk.

Attributions of the fusion attention, of integrated gradients (two paths) and of occlusion, with random ranks
beside them, for the same stays whichever seed is explained.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from chartscan import artifact as artifacts
from chartscan import files
from chartscan.artifact import Artifact
from chartscan.batch import SeriesBatch
from chartscan.console import ProgressFunction
from chartscan.errors import ConfigError
from chartscan.inputs.batches.series import SeriesStore, collate_series
from chartscan.inputs.hourly import stays
from chartscan.inputs.readers import HourlyReader
from chartscan.interpret.events import Score
from chartscan.interpret.faithfulness import (
    comprehensiveness,
    event_occlusion,
    random_attribution,
    rank_correlation,
    shuffled,
    sufficiency,
)
from chartscan.interpret.gradients import of_embeddings, of_values, to_tolerance
from chartscan_lab.study._cells import StudyData

ATTENTION, VALUES, EMBEDDINGS = "fusion attention", "gradients, values", "gradients, embeddings"
OCCLUSION, RANDOM = "occlusion", "random"
METHODS = (ATTENTION, VALUES, EMBEDDINGS, OCCLUSION)
BATCH = 16  # stays
RANDOM_DRAWS = 3
CHOICE_SEED = 0  # of the stays that are explained: the same for every model


class Explained(NamedTuple):
    """Of n stays with N events in all, one stay after the other."""

    lengths: NDArray[np.int64]  # (n,)
    attributions: dict[str, NDArray[np.float32]]  # by method, (N,)
    randomised: dict[str, NDArray[np.float32]]  # of the model with its weights shuffled, (N,)
    comprehensiveness: dict[str, NDArray[np.float64]]  # by method and RANDOM, (n, K): one column a share
    sufficiency: dict[str, NDArray[np.float64]]
    gaps: dict[str, float]  # of integrated gradients, relative to the changes

    def padded(self, method: str, randomised: bool = False) -> Tensor:
        """(n, L) attributions, 0 at padding."""
        flat = (self.randomised if randomised else self.attributions)[method]
        parts = torch.from_numpy(flat).split(self.lengths.tolist())
        return nn.utils.rnn.pad_sequence(list(parts), batch_first=True)


def chosen_stays(asked: pa.Table, count: int) -> pa.Table:
    """At most `count` rows of LABELS, drawn once for all models, in their order."""
    order = np.random.default_rng(CHOICE_SEED).permutation(asked.num_rows)[:count]
    return asked.take(np.sort(order))


def explained(folder: Path, asked: pa.Table, data: StudyData, progress: ProgressFunction) -> Explained:
    """Explanations of the artifact in `folder`; ConfigError unless it has fusion attention over triplets.

    Stays without any event are left out.
    """
    found = artifacts.load(folder)
    if (
        found.network is None
        or found.network.model.INPUT != "triplets"
        or not hasattr(found.network.model, "attention")
    ):
        raise ConfigError(
            f"{folder} is no model of triplets with fusion attention, so there is no attention to test. "
            "Name another recipe: --set recipe=hymate-paper."
        )
    single: Artifact[HourlyReader] = next(found.singles())  # type: ignore[arg-type]
    tables = map(data.dataset.read_shard, data.dataset.shards())
    store = SeriesStore.build(
        stays(tables, single.reader.variables, asked),
        np.full((asked.num_rows, 1), np.nan),
        single.reader.variables,
    )
    lengths = store.lengths("triplets")
    order = np.argsort(lengths, kind="stable")[int(np.sum(lengths == 0)) :]
    parts = []
    for first in range(0, len(order), BATCH):
        batch = collate_series(store, order[first : first + BATCH], "triplets")
        parts.append(explained_batch(single, found.tasks.index(data.task), batch, first))
        progress(min(first + BATCH, len(order)), len(order))
    return _in_order(parts, order)


def explained_batch(
    found: Artifact[HourlyReader], task: int, batch: SeriesBatch, seed: int
) -> list[Explained]:
    """Explanations of each stay of a batch."""
    model, head = found.network.model.eval(), _head(found).eval()
    score = score_of(model, head, task)
    attributions, gaps = _attributions(model, score, batch)
    other = nn.ModuleList([shuffled(model, CHOICE_SEED), shuffled(head, CHOICE_SEED)]).eval()
    randomised, _ = _attributions(other[0], score_of(other[0], other[1], task), batch, occluded=False)
    removed = {name: comprehensiveness(score, batch, a) for name, a in attributions.items()}
    alone = {name: sufficiency(score, batch, a) for name, a in attributions.items()}
    draws = [random_attribution(batch, RANDOM_DRAWS * seed + k) for k in range(RANDOM_DRAWS)]
    removed[RANDOM] = _mean([comprehensiveness(score, batch, draw) for draw in draws])
    alone[RANDOM] = _mean([sufficiency(score, batch, draw) for draw in draws])
    return [
        Explained(
            lengths=batch.lengths[row : row + 1].numpy(),
            attributions=_flat(attributions, row, batch),
            randomised=_flat(randomised, row, batch),
            comprehensiveness={name: v[row : row + 1].double().numpy() for name, v in removed.items()},
            sufficiency={name: v[row : row + 1].double().numpy() for name, v in alone.items()},
            gaps=gaps,
        )
        for row in range(len(batch.lengths))
    ]


def score_of(model: nn.Module, head: nn.Module, task: int) -> Score[SeriesBatch]:
    """Raw log odds of one task."""
    predict: Callable[[nn.Module, SeriesBatch], Tensor] = head.predict  # type: ignore[assignment]
    return lambda batch: predict(model, batch)[:, task]


def save(path: Path, found: Explained) -> None:
    """Numbers only, whole or not at all."""
    arrays: dict[str, Any] = {"lengths": found.lengths}
    for name, group in found._asdict().items():
        if name != "lengths":
            arrays |= {f"{name}/{method}": value for method, value in group.items()}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    files.write_bytes(path, content.getvalue())


def load(path: Path) -> Explained:
    """What `save` wrote."""
    groups: dict[str, Any] = {name: {} for name in Explained._fields}
    with np.load(path, allow_pickle=False) as arrays:
        groups["lengths"] = arrays["lengths"]
        for key in arrays.files:
            name, slash, method = key.partition("/")
            if slash:
                groups[name][method] = float(arrays[key]) if name == "gaps" else arrays[key]
    return Explained(**groups)


def agreement(one: Tensor, other: Tensor, lengths: NDArray[np.int64]) -> float:
    """Mean over stays of the rank correlation of their events; stays without one are left out."""
    found = rank_correlation(one, other, torch.from_numpy(lengths))
    defined = found[np.isfinite(found)]
    return float(defined.mean()) if len(defined) else float("nan")


def _attributions(
    model: Any, score: Score[SeriesBatch], batch: SeriesBatch, occluded: bool = True
) -> tuple[dict[str, Tensor], dict[str, float]]:
    with torch.no_grad():
        found = {ATTENTION: model.attention(batch)}
    gaps = {}
    for name, method in {
        VALUES: lambda steps: of_values(score, batch, steps),
        EMBEDDINGS: lambda steps: of_embeddings(score, batch, model.embedding, steps),
    }.items():
        attribution, _ = to_tolerance(method)
        found[name], gaps[name] = attribution.events, attribution.relative_gap
    if occluded:
        found[OCCLUSION] = event_occlusion(score, batch)
    return found, gaps


def _head(found: Artifact[HourlyReader]) -> nn.Module:
    head: nn.Module = found.network.answering
    return head


def _flat(attributions: dict[str, Tensor], row: int, batch: SeriesBatch) -> dict[str, NDArray[np.float32]]:
    n = int(batch.lengths[row])
    return {name: value[row, :n].detach().float().numpy() for name, value in attributions.items()}


def _mean(found: list[Tensor]) -> Tensor:
    return torch.stack(found).mean(0)


def _in_order(parts: list[list[Explained]], order: NDArray[np.int64]) -> Explained:
    """All stays in their order again; gaps are means over stays."""
    flat = [one for part in parts for one in part]
    ordered = [flat[place] for place in np.argsort(order)]

    def joined(name: str) -> dict[str, Any]:
        groups = [getattr(one, name) for one in ordered]
        return {method: np.concatenate([group[method] for group in groups]) for method in groups[0]}

    gaps = {name: float(np.mean([one.gaps[name] for one in ordered])) for name in ordered[0].gaps}
    lengths = np.concatenate([one.lengths for one in ordered])
    names = ("attributions", "randomised", "comprehensiveness", "sufficiency")
    return Explained(lengths=lengths, gaps=gaps, **{name: joined(name) for name in names})
