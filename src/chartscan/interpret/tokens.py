"""Answers of token models explained, token by token."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from torch import Tensor, nn

from chartscan.artifact import Artifact
from chartscan.batch import Batch, Prompts
from chartscan.console import ProgressFunction
from chartscan.inputs.batches import Sampler
from chartscan.inputs.batches.rows import batch_of
from chartscan.inputs.readers import TokenReader
from chartscan.inputs.tokens import Encoded, readings, visible, window, window_index
from chartscan.inputs.tokens import types as T
from chartscan.interpret.attention import (
    attending,
    attention_maps,
    contributions,
    mean_attention,
    rollout,
    selections,
)
from chartscan.interpret.events import Score, token_events, with_questions
from chartscan.interpret.explanation import (
    ATTENTION,
    CONTRIBUTIONS,
    GRADIENTS,
    HIDDEN,
    OCCLUSION,
    Explanation,
    Method,
    Question,
    explained,
    explanation,
)
from chartscan.interpret.faithfulness import event_occlusion, shuffled
from chartscan.interpret.gradients import Attribution, of_embeddings, to_tolerance
from chartscan.layers.embedding import EventEmbedding
from chartscan.layers.mamba import MambaBlock

TOKENS_PER_BATCH = 8192


def explain_tokens(
    members: Sequence[Artifact[TokenReader]],
    weights: Mapping[str, Sequence[float]],
    questions: Sequence[Question],
    records: Mapping[int, pa.Table],
    seed: int,
    progress: ProgressFunction,
) -> list[Explanation]:
    """The questions in their order; `records` are the EVENTS of their subjects.

    The log odds are the sum of the members', times the task's `weights` (M,). All members have the same
    vocabulary, bins and tasks, and are on one device.
    """
    artifact = members[0]
    device = next(artifact.network.model.parameters()).device
    shares = torch.tensor([list(weights.get(task, [0.0] * len(members))) for task in artifact.tasks])
    shares = shares.T.to(device)
    numeric = readings(artifact.reader.vocabulary, artifact.reader.bins)
    prompted = ["probe" not in one.network.heads for one in members]
    pairs = [(one.network.model.eval(), _head(one).eval()) for one in members]
    others = [(shuffled(model, seed).eval(), shuffled(head, seed).eval()) for model, head in pairs]
    score = weighed_score([score_of(*pair) for pair in pairs], shares)

    def methods_of(some: Sequence[tuple[nn.Module, nn.Module]]) -> dict[str, Method[Batch]]:
        found = [
            token_methods(model, score_of(model, head), numeric, own)
            for (model, head), own in zip(some, prompted, strict=True)
        ]
        return weighed_methods(found, shares)

    methods, random = methods_of(pairs), methods_of(others)
    random.pop(OCCLUSION)
    rows = [_Row.of(artifact, question, records[question.subject_id]) for question in questions]
    order = Sampler(np.array([row.shown.n for row in rows]), TOKENS_PER_BATCH).in_order()
    found: dict[int, Explanation] = {}
    for indices in order:
        batch = _batch(artifact, [rows[i] for i in indices]).to(device)
        results = explained(score, batch, methods, random, [questions[i].seeds(seed) for i in indices])
        for i, result in zip(indices.tolist(), results, strict=True):
            shown = slice(1, rows[i].shown.n)
            found[i] = explanation(questions[i], rows[i].events(), result, shown)
        progress(len(found), len(questions))
    return [found[i] for i in range(len(questions))]


def score_of(model: nn.Module, head: nn.Module) -> Callable[[Batch], Tensor]:
    """Raw log odds of each row's question."""
    predict: Callable[[nn.Module, Batch], Tensor] = head.predict  # type: ignore[assignment]
    return lambda batch: predict(model, batch)


def _head(artifact: Artifact[TokenReader]) -> nn.Module:
    assert artifact.network.answering is not None
    return artifact.network.answering


def weighed_score(scores: Sequence[Score[Batch]], shares: Tensor) -> Score[Batch]:
    """Return the sum of weighted scores, with shares (M, tasks) by question."""

    def score(batch: Batch) -> Tensor:
        return torch.stack([one(batch) for one in scores]).mul(_of_rows(shares, batch)).sum(0)

    return score


def weighed_methods(
    members: Sequence[Mapping[str, Method[Batch]]], shares: Tensor
) -> dict[str, Method[Batch]]:
    """Combine each method that all members have: their sum, with the weights of the scores.

    Gradients and differences of a weighted sum are the weighted sums of them: what integrated gradients and
    occlusion say of the members' joint log odds is exactly this. Of attention it is an average.
    """
    common = [name for name in members[0] if all(name in one for one in members)]
    return {name: _weighed([one[name] for one in members], shares) for name in common}


def _weighed(methods: Sequence[Method[Batch]], shares: Tensor) -> Method[Batch]:
    def method(batch: Batch) -> Tensor | Attribution:
        found = [one(batch) for one in methods]
        weights = _of_rows(shares, batch)
        whole = [one for one in found if isinstance(one, Attribution)]
        if whole:
            return Attribution(*(_sum(parts, weights) for parts in zip(*whole, strict=True)))
        return _sum([one for one in found if isinstance(one, Tensor)], weights)

    return method


def _sum(parts: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Of (B,) or (B, L) parts the sum times `weights` (M, B)."""
    stacked = torch.stack(list(parts))
    return (stacked * weights.reshape(*weights.shape, *[1] * (stacked.ndim - 2))).sum(0)


def _of_rows(shares: Tensor, batch: Batch) -> Tensor:
    """(M, B): the shares in each row's task."""
    assert batch.prompts is not None
    return shares[:, batch.prompts.tasks]


def token_methods(
    model: nn.Module,
    score: Callable[[Batch], Tensor],
    numeric: Sequence[Sequence[int]],
    prompted: bool = True,
) -> dict[str, Method[Batch]]:
    """Return the methods for a token model; `numeric` as of `readings`.

    The baseline of integrated gradients is the embedding of each token at its own time with the usual code:
    of a reading the mean of all readings of its variable, of any other token that of the row's tokens of the
    same type. So the question is why a reading is as it is, not why it was taken. Attention is what the task
    token attends to: there is none where answers are not `prompted` by one.
    """
    embedding: EventEmbedding = model.embedding  # type: ignore[assignment]
    usual = usual_codes(embedding.codes.weight, numeric)
    found: dict[str, Method[Batch]] = {
        GRADIENTS: lambda b: to_tolerance(
            lambda n: of_embeddings(score, b, embedding, n, b.types, embedding.codes, usual[b.codes])
        )[0]
    }
    if prompted and any(isinstance(one, MambaBlock) for one in model.modules()):
        found[HIDDEN] = lambda b: _hidden(model, b)
        found[CONTRIBUTIONS] = lambda b: _contributions(model, b)
    if prompted and attending(model):
        found[ATTENTION] = lambda b: _attention(model, b)
    found[OCCLUSION] = lambda b: event_occlusion(score, b)
    return found


def usual_codes(codes: Tensor, numeric: Sequence[Sequence[int]]) -> Tensor:
    """Return the mean code of each reading's variable (V, D); nan without others.

    Every bin counts alike: bins hold equal shares of the train readings.
    """
    found = torch.full_like(codes, torch.nan).detach()
    for ids in numeric:
        if len(ids) > 1:
            rows = torch.tensor(ids).to(codes.device)
            mean = codes[rows].mean(0).detach()
            found = found.index_copy(0, rows, mean.expand(len(ids), -1))
    return found


def _asked(model: nn.Module, batch: Batch) -> Batch:
    return with_questions(batch, model.config.task_type)  # type: ignore[union-attr,arg-type]


@torch.no_grad()
def _hidden(model: nn.Module, batch: Batch) -> Tensor:
    """Of the last block, what the task token takes from each token."""
    last = selections(model, _asked(model, batch))[-1]
    return mean_attention(last, batch.lengths.unsqueeze(1))[:, 0, :-1]


@torch.no_grad()
def _contributions(model: nn.Module, batch: Batch) -> Tensor:
    last = selections(model, _asked(model, batch))[-1]
    block = [one for one in model.modules() if isinstance(one, MambaBlock)][-1]
    return contributions(last, block.out_proj.weight, batch.lengths)[:, :-1]


@torch.no_grad()
def _attention(model: nn.Module, batch: Batch) -> Tensor:
    """Rolled out over the layers, from the task token."""
    maps = [one.mean(1) for one in attention_maps(model, _asked(model, batch))]
    start = torch.nn.functional.one_hot(batch.lengths, batch.codes.shape[1] + 1).to(maps[0].dtype)
    return rollout(start, maps)[:, :-1]


class _Row:
    """What a model sees of one question, and the events that its tokens stand for."""

    def __init__(self, question: Question, shown: Encoded, columns: pl.DataFrame):
        self.question, self.shown, self._columns = question, shown, columns

    @classmethod
    def of(cls, artifact: Artifact[TokenReader], question: Question, record: pa.Table) -> "_Row":
        """The window of `record` that the question is asked after."""
        encoded = artifact.reader.encoder.encode(record)
        end = visible(encoded, np.datetime64(question.prediction_time, "us"))
        context = artifact.reader.vocabulary.config.context - 1
        columns = token_events(artifact, encoded, record)
        whole = end <= context
        index = np.arange(end) if whole else window_index(encoded, end, context)
        return cls(question, window(encoded, end, context), columns[index])

    def events(self) -> pl.DataFrame:
        """All tokens but the first."""
        numbered = self._columns.with_columns(
            position=pl.Series(np.arange(len(self._columns))),
            visit=pl.Series(np.cumsum(self.shown.types == T.VS)),
        )
        return numbered[1:]


def _batch(artifact: Artifact[TokenReader], rows: Sequence[_Row]) -> Batch:
    """Rows as one batch, each with its question after its last token."""
    tasks = [artifact.tasks.index(row.question.task) for row in rows]
    codes = [artifact.reader.vocabulary.task_token(row.question.task) for row in rows]
    prompts = Prompts(
        rows=torch.arange(len(rows)),
        positions=torch.tensor([row.shown.n - 1 for row in rows]),
        codes=torch.tensor(codes),
        tasks=torch.tensor(tasks),
        labels=torch.full((len(rows),), torch.nan),
    )
    batch = batch_of([row.shown for row in rows], prompts)
    if artifact.reader.vocabulary.config.task_token_placement == "both":
        batch.codes[:, 0] = prompts.codes
    return batch
