"""`chartscan bench train`: tokens a second in training and inference beside the Mamba of transformers.

Models of one size with the same weights get the same tokens. Training is loss, gradient and AdamW update;
inference is the logits of every position, for every model. Before timing, the loss (the logits) must be that
of our float32 model. Beside it, in fresh processes, what a step of our whole model costs as sequences grow
(`lengths`).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from chartscan.batch import Batch
from chartscan.kernels import Backend
from chartscan_lab.bench import hugging_face
from chartscan_lab.bench import lengths as growth
from chartscan_lab.bench.lengths import LENGTHS, PEER_LENGTHS
from chartscan_lab.bench.machine import described, observed
from chartscan_lab.bench.memory import FAILURES, failed
from chartscan_lab.bench.models import TokenModel, WholeModel, blocks_of, config_of, random_batch
from chartscan_lab.bench.progress import Counter, ProgressFunction, silent
from chartscan_lab.bench.scan_peers import needs, ours
from chartscan_lab.bench.timing import Clock, Plan, clock, compared, in_turn
from chartscan_lab.tables import TIMED, text_table, timed_cells

BASELINE = "chartscan"
SEED = 0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bench train` measures. `shapes` are [batch, length]; `lengths` are of one row."""

    shapes: tuple[tuple[int, int], ...] = ((8, 64), (2, 256), (1, 1024), (8, 1024))
    width: int = 256
    layers: int = 4
    vocab_size: int = 5000
    rounds: int = 5
    seconds: float = 8.0  # for a slow model at one shape, about
    keep_freed_memory: bool = (
        False  # as `chartscan train` does; for all implementations, all from one process
    )
    lengths: tuple[int, ...] = LENGTHS
    peer_lengths: tuple[int, ...] = PEER_LENGTHS
    threads: int = 2  # the lengths are always measured on one
    repeats: int = 3  # of the lengths

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        sizes = (self.width, self.layers, self.threads, self.rounds, self.repeats)
        shapes = (n for shape in self.shapes for n in shape)
        if not self.lengths or min(*self.lengths, *self.peer_lengths, *sizes, *shapes) < 1:
            raise ValueError(
                "lengths must hold at least one length, and each length, size, threads, rounds and repeats "
                "be at least 1"
            )
        if self.seconds <= 0 or self.vocab_size < 2:
            raise ValueError("seconds must be above 0 and vocab_size at least 2")

    def run(self, progress: ProgressFunction = silent) -> dict[str, Any]:
        return run(self, progress)

    def table(self, found: dict[str, Any]) -> str:
        return table(found)


class Contender(NamedTuple):
    """A model that can say its `loss` and its `logits`."""

    module: nn.Module
    loss: Callable[[Batch], Tensor]
    logits: Callable[[Batch], Tensor]

    def train_step(self, batch: Batch) -> Callable[[], Tensor]:
        """One update of the weights; gives the loss before it."""
        optimiser = torch.optim.AdamW([p for p in self.module.parameters() if p.requires_grad])

        def step() -> Tensor:
            optimiser.zero_grad()
            loss = self.loss(batch)
            loss.backward()
            optimiser.step()
            return loss.detach()

        return step

    def infer(self, batch: Batch) -> Callable[[], Tensor]:
        """Logits of all positions (B, L, V)."""

        def call() -> Tensor:
            with torch.no_grad():
                return self.logits(batch)

        return call


class Peer(NamedTuple):
    """How to make a model, and how near its results must be to the baseline's (None: another model)."""

    name: str
    make: Callable[[Settings], Contender]
    loss_tolerance: float | None = 1e-3
    logits_tolerance: float | None = 1e-3
    missing: Callable[[], str | None] = lambda: None
    longest_training: float = math.inf

    def obstacle(self, length: int, training: bool) -> str | None:
        """Why it is not run; None if it is."""
        if training and length > self.longest_training:
            return f"backward is quadratic in the length: not run beyond {self.longest_training:.0f}"
        return self.missing()


def token_model(settings: Settings, backend: Backend = "auto") -> TokenModel:
    """Always the same weights."""
    torch.manual_seed(SEED)
    model = TokenModel(config_of(settings.width, settings.layers, backend), settings.vocab_size)
    model.objective.linear.bias.requires_grad_(False)  # zero, as in the peers, which have none
    return model


def make_ours(backend: Backend = "auto", bf16: bool = False) -> Callable[[Settings], Contender]:
    def make(settings: Settings) -> Contender:
        model = token_model(settings, backend)
        return Contender(model, lowered(model.loss), lowered(model.logits))

    def lowered(function: Callable[[Batch], Tensor]) -> Callable[[Batch], Tensor]:
        def call(batch: Batch) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return function(batch)

        return call

    return make


def make_whole(settings: Settings) -> Contender:
    torch.manual_seed(SEED)
    model = WholeModel(config_of(settings.width, settings.layers), settings.vocab_size)
    return Contender(model, model.loss, model.logits)


def make_theirs(mambapy: bool) -> Callable[[Settings], Contender]:
    def make(settings: Settings) -> Contender:
        mine = token_model(settings)
        model = hugging_face.causal_model(
            config_of(settings.width, settings.layers), settings.vocab_size, mambapy
        )
        hugging_face.copy_blocks(blocks_of(mine), mine.objective.norm, model.backbone)
        with torch.no_grad():
            model.backbone.embeddings.weight.copy_(mine.codes.weight)  # the head shares them
        return Contender(
            model,
            lambda batch: model(input_ids=batch.codes, labels=batch.codes).loss,
            lambda batch: model(input_ids=batch.codes).logits,
        )

    return make


PEERS: tuple[Peer, ...] = (
    Peer(BASELINE, make_ours()),
    Peer("chartscan, bf16 autocast", make_ours(bf16=True), logits_tolerance=0.05),
    Peer("chartscan, whole EHRMamba", make_whole, loss_tolerance=None, logits_tolerance=None),
    Peer("chartscan, chunked backend", make_ours("chunked"), missing=ours("chunked").missing),
    Peer("transformers, loop", make_theirs(False), missing=needs("transformers"), longest_training=256),
    Peer("transformers, mambapy", make_theirs(True), missing=needs("transformers", "mambapy")),
)


def run(
    settings: Settings, progress: ProgressFunction = silent, peers: tuple[Peer, ...] = PEERS
) -> dict[str, Any]:
    cases = [(shape, training) for training in (True, False) for shape in settings.shapes]
    count = len(cases) * len(peers) * (settings.rounds + 1)
    counter = Counter(count + len(settings.lengths) + len(settings.peer_lengths), progress)
    watch, plan = clock(settings.threads), Plan(settings.rounds, settings.seconds)
    with observed(settings.threads, settings.keep_freed_memory) as conditions:
        throughput = [measure(settings, peers, *case, watch, plan, counter) for case in cases]
        by_length = growth.run(
            settings.lengths,
            settings.peer_lengths,
            repeats=settings.repeats,
            progress=lambda done, total: counter.next("one sequence, by length"),
        )
    return {
        "bench": "train",
        "conditions": conditions,
        "clock": watch.name,
        "throughput": throughput,
        "lengths": by_length,
    }


def measure(
    settings: Settings,
    peers: tuple[Peer, ...],
    shape: tuple[int, int],
    training: bool,
    watch: Clock,
    plan: Plan,
    counter: Counter,
) -> dict[str, Any]:
    """One shape: every model's first loss or logits against the baseline's, then their times in turn."""
    batch = random_batch(*shape, settings.vocab_size, config_of(settings.width, settings.layers))
    words = f"{what(training)}, B{shape[0]} L{shape[1]}:"
    rows: dict[str, dict[str, Any]] = {}
    calls, first = {}, {}
    expected: Tensor | None = None
    for peer in peers:
        counter.next(f"{words} checking {peer.name}")
        row: dict[str, Any] = {"not_run": peer.obstacle(shape[1], training)}
        rows[peer.name] = row
        if row["not_run"]:
            continue
        contender = peer.make(settings)
        call = contender.train_step(batch) if training else contender.infer(batch)
        results: list[Tensor] = []
        try:
            first[peer.name] = watch.seconds(lambda call=call, results=results: results.append(call()))  # type: ignore[misc]
        except FAILURES as failure:
            row["not_run"] = failed(failure)
            continue
        result = results.pop()
        expected = result if expected is None else expected
        tolerance = peer.loss_tolerance if training else peer.logits_tolerance
        row |= difference(result, expected, training)
        row["comparable"] = tolerance is not None
        if tolerance is not None and not row["error"] <= tolerance:
            row["not_run"] = f"not timed: its {'loss' if training else 'logits'} differ by {row['error']:.1e}"
            continue
        calls[peer.name] = call
    del expected
    counter.skip((len(peers) - len(calls)) * plan.rounds)
    tokens = shape[0] * shape[1]
    baseline = BASELINE if BASELINE in calls else None
    for name, found in compared(in_turn(calls, first, watch, plan, counter, words), baseline).items():
        rows[name] |= found | {"tokens_per_second": tokens / found["seconds"]}
    return {
        "batch": shape[0],
        "length": shape[1],
        "work": what(training),
        "baseline": baseline,
        "rows": [{"name": name} | row for name, row in rows.items()],
    }


def difference(result: Tensor, expected: Tensor, training: bool) -> dict[str, float]:
    """The relative difference of the loss, or of logits relative to the largest."""
    error = float((result.double() - expected.double()).abs().max() / expected.double().abs().max())
    return {"loss": float(result), "error": error} if training else {"error": error}


def what(training: bool) -> str:
    return "training" if training else "inference, all logits"


def table(found: dict[str, Any]) -> str:
    """The result as lines to print."""
    lines = [described(found["conditions"]), f"Median {found['clock']}; x: times the baseline's time."]
    for case in found["throughput"]:
        lines += ["", f"{case['work']}, B{case['batch']} L{case['length']}"]
        lines += text_table(("", "tokens/s", *TIMED), [_cells(row) for row in case["rows"]])
    return "\n".join(
        [*lines, "", "one sequence a step, whole model, one thread", growth.table(found["lengths"])]
    )


def _cells(row: dict[str, Any]) -> list[str]:
    if row["not_run"]:
        return [row["name"], row["not_run"]]
    cells = timed_cells(row | {"error": row["error"] if row["comparable"] else None}, 1)
    known = cells if row.get("ratio") is not None else cells[:2]
    return [row["name"], f"{row['tokens_per_second']:,.0f}", *known]
