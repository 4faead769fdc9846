"""`chartscan bench step`: one event through a stack of blocks, state in hand, beside peers and starting over.

All models share their weights and end with the same norm. Before timing, a history is folded step by step,
and what comes out must equal one pass over the whole of it in float64.
"""

import copy
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from chartscan.batch import Batch
from chartscan.models.ehrmamba import Model
from chartscan_lab.bench import hugging_face
from chartscan_lab.bench.machine import described, observed
from chartscan_lab.bench.models import blocks_of, config_of, random_batch
from chartscan_lab.bench.progress import Counter, ProgressFunction, silent
from chartscan_lab.bench.scan_peers import needs
from chartscan_lab.bench.timing import Clock, Plan, clock, compared, in_turn
from chartscan_lab.tables import TIMED, text_table, timed_cells

TOLERANCE = 1e-4  # of hidden states, relative to the largest
BASELINE = "chartscan, blocks"
VOCAB_SIZE = 5000
SEED = 0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bench step` measures: `rows` sequences that step together, after a history of `events`."""

    rows: tuple[int, ...] = (1, 8, 64)
    events: int = 40
    width: int = 256
    layers: int = 4
    threads: int = 1
    rounds: int = 9
    seconds: float = 2.0  # for a slow implementation, about
    keep_freed_memory: bool = (
        False  # as `chartscan train` does; for all implementations, all from one process
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        if min(*self.rows, self.events, self.width, self.layers, self.threads, self.rounds) < 1:
            raise ValueError("rows, events, width, layers, threads and rounds must be at least 1")
        if self.seconds <= 0:
            raise ValueError("seconds must be above 0")

    def run(self, progress: ProgressFunction = silent) -> dict[str, Any]:
        return run(self, progress)

    def table(self, found: dict[str, Any]) -> str:
        return table(found)


class Work(NamedTuple):
    """A model, and the history of R rows that it goes through."""

    model: Model
    norm: nn.RMSNorm
    history: Batch  # (R, L)
    embedded: Tensor  # (R, L, D)

    @classmethod
    def of(cls, settings: Settings, rows: int) -> "Work":
        torch.manual_seed(SEED)
        config = config_of(settings.width, settings.layers)
        model = Model(config, VOCAB_SIZE).eval()
        history = random_batch(rows, settings.events, VOCAB_SIZE, config)
        with torch.no_grad():
            return cls(model, nn.RMSNorm(settings.width, eps=1e-5), history, model.embedding(history))

    @torch.no_grad()
    def truth(self) -> Tensor:
        """Normed hidden states of one pass in float64, (R, L, D)."""
        return one_pass(with_backend(self.model, "chunked").double(), self.norm, self.embedded.double())


class Contender(NamedTuple):
    """`fold` gives the normed hidden states of the whole history (R, L, D); `call` is one event more."""

    fold: Callable[[], Tensor]
    call: Callable[[], object]


Step = Callable[[Any, Any], tuple[Tensor, Any]]  # (token, state before) -> normed hidden (R, D), state after


def stepping(step: Step, tokens: list[Any], start: Callable[[], Any]) -> Contender:
    """A model that steps: its state lives on from call to call."""
    state, count = start(), 0

    @torch.no_grad()
    def fold() -> Tensor:
        before, hidden = start(), []
        for token in tokens:
            h, before = step(token, before)
            hidden.append(h)
        return torch.stack(hidden, 1)

    @torch.no_grad()
    def call() -> Tensor:
        nonlocal state, count
        h, state = step(tokens[count % len(tokens)], state)
        count += 1
        return h

    return Contender(fold, call)


def anew(run_all: Callable[[], Tensor]) -> Contender:
    """A model that computes the whole history again for each event."""
    call = torch.no_grad()(run_all)
    return Contender(call, call)


def our_blocks(work: Work) -> Contender:
    """The stack alone, by the backend that `auto` chooses."""
    return _blocks(work, work.model)


def our_torch_blocks(work: Work) -> Contender:
    """The stack alone, in operations of PyTorch."""
    return _blocks(work, with_backend(work.model, "reference"))


def _blocks(work: Work, model: Model) -> Contender:
    norm, rows = work.norm, len(work.embedded)

    def step(x: Tensor, before: Any) -> tuple[Tensor, Any]:
        hidden, after = model.blocks.step(x, before)
        return norm(hidden), after

    return stepping(step, list(work.embedded.unbind(1)), lambda: model.blocks.init_state(rows))


def our_model(work: Work) -> Contender:
    """The model as it is used: embedding and stack."""
    tokens = [token_at(work.history, t) for t in range(work.embedded.shape[1])]

    def step(token: Batch, before: Any) -> tuple[Tensor, Any]:
        hidden, after = work.model.step(token, before)
        return work.norm(hidden), after

    return stepping(step, tokens, lambda: work.model.init_state(len(work.embedded)))


def our_pass(work: Work) -> Contender:
    return anew(lambda: one_pass(work.model, work.norm, work.embedded))


def their_steps(work: Work) -> Contender:
    """Hugging Face's cache of states."""
    model = their_model(work)

    def step(x: Tensor, before: Any) -> tuple[Tensor, Any]:
        found = model(inputs_embeds=x, cache_params=before, use_cache=True)
        return found.last_hidden_state[:, 0], found.cache_params

    return stepping(step, list(work.embedded.split(1, dim=1)), lambda: None)


def their_pass(work: Work) -> Contender:
    model = their_model(work)
    return anew(lambda: model(inputs_embeds=work.embedded).last_hidden_state)


def their_model(work: Work) -> Any:
    """A MambaModel of transformers with our weights."""
    model = hugging_face.causal_model(work.model.config, VOCAB_SIZE).backbone.eval()
    hugging_face.copy_blocks(blocks_of(work.model), work.norm, model)
    return model


def one_pass(model: Model, norm: nn.RMSNorm, embedded: Tensor) -> Tensor:
    x = model.blocks(embedded)
    return nn.functional.rms_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.eps)


def with_backend(model: Model, backend: Any) -> Model:
    """A copy of the model that scans with `backend`."""
    other = Model(msgspec.structs.replace(model.config, backend=backend), VOCAB_SIZE).eval()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    return other


def token_at(batch: Batch, position: int) -> Batch:
    """The tokens of all rows at one position, (R, 1)."""
    parts = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name not in ("lengths", "prompts")}
    cut = {name: tensor[:, position : position + 1].contiguous() for name, tensor in parts.items()}
    return Batch(**cut, lengths=torch.ones_like(batch.lengths))


class Peer(NamedTuple):
    name: str
    make: Callable[[Work], Contender]
    missing: Callable[[], str | None] = lambda: None


PEERS: tuple[Peer, ...] = (
    Peer(BASELINE, our_blocks),
    Peer("chartscan, blocks and embedding", our_model),
    Peer("chartscan, PyTorch operations", our_torch_blocks),
    Peer("transformers, cache", their_steps, needs("transformers")),
    Peer("chartscan, whole history anew", our_pass),
    Peer("transformers, whole history anew", their_pass, needs("transformers")),
)


def run(
    settings: Settings, progress: ProgressFunction = silent, peers: tuple[Peer, ...] = PEERS
) -> dict[str, Any]:
    counter = Counter(len(settings.rows) * len(peers) * (settings.rounds + 1), progress)
    watch, plan = clock(settings.threads), Plan(settings.rounds, settings.seconds)
    with observed(settings.threads, settings.keep_freed_memory) as conditions:
        cases = [measure(settings, rows, peers, watch, plan, counter) for rows in settings.rows]
    return {"bench": "step", "conditions": conditions, "clock": watch.name, "steps": cases}


def measure(
    settings: Settings, rows: int, peers: tuple[Peer, ...], watch: Clock, plan: Plan, counter: Counter
) -> dict[str, Any]:
    """All peers with R rows: what they make of the history, then the time of one event more."""
    work = Work.of(settings, rows)
    expected = work.truth()
    found: dict[str, dict[str, Any]] = {}
    calls, first = {}, {}
    for peer in peers:
        counter.next(f"{rows} rows: checking {peer.name}")
        row: dict[str, Any] = {"not_run": peer.missing()}
        found[peer.name] = row
        if row["not_run"]:
            continue
        contender = peer.make(work)
        row["error"] = float((contender.fold().double() - expected).abs().max() / expected.abs().max())
        if not row["error"] <= TOLERANCE:
            row["not_run"] = f"not timed: its result differs by {row['error']:.1e} of the largest number"
            continue
        calls[peer.name] = contender.call
        contender.call()
        first[peer.name] = watch.seconds(contender.call)
    counter.skip((len(peers) - len(calls)) * plan.rounds)
    baseline = BASELINE if BASELINE in calls else None
    for name, times in compared(
        in_turn(calls, first, watch, plan, counter, f"{rows} rows:"), baseline
    ).items():
        found[name] |= times
    named = [{"name": name} | row for name, row in found.items()]
    return {"rows_together": rows, "history": settings.events, "baseline": baseline, "rows": named}


def table(found: dict[str, Any]) -> str:
    """The result as lines to print."""
    lines = [
        described(found["conditions"]),
        f"Median {found['clock']} of one event; x: times the baseline's time.",
    ]
    for case in found["steps"]:
        lines += ["", f"{case['rows_together']} rows together, history of {case['history']} events"]
        rows = [
            [row["name"], row["not_run"]] if row["not_run"] else [row["name"], *timed_cells(row, 3)]
            for row in case["rows"]
        ]
        lines += text_table(("", *TIMED), rows)
    return "\n".join(lines)
