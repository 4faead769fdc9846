"""`chartscan bench scan`: the selective scan beside its peers: time, memory, and how near to the roofline.

Every comparable implementation gets the same numbers and must give the same result, gradients included, as a
scan in float64; one that does not is not timed. Times in turn (`timing`), memory in a fresh process each
(`memory`), the floor from rates measured in the same minute (`roofline`).
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor

from chartscan.kernels import selective_scan
from chartscan_lab.bench import roofline
from chartscan_lab.bench.machine import described, observed
from chartscan_lab.bench.memory import FAILURES, extra_bytes, failed, in_fresh_process
from chartscan_lab.bench.progress import Counter, ProgressFunction, silent
from chartscan_lab.bench.scan_inputs import Shape, random_inputs
from chartscan_lab.bench.scan_peers import PEERS, Peer, Prepared
from chartscan_lab.bench.timing import Clock, Plan, clock, compared, in_turn
from chartscan_lab.tables import MIB, TIMED, text_table, timed_cells

TOLERANCE = 1e-4  # of results, relative to the largest number of each tensor
BASELINES = ("chartscan native", "chartscan chunked")  # the first that ran


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bench scan` measures; shapes are [batch, length]."""

    forward: tuple[tuple[int, int], ...] = ((4, 2048), (2, 512), (1, 8192))
    backward: tuple[tuple[int, int], ...] = ((1, 64), (1, 256), (4, 512), (4, 2048), (1, 8192))
    memory: tuple[tuple[int, int], ...] = ((1, 8192),)
    roofline: tuple[tuple[int, int], ...] = ((4, 2048),)
    channels: int = 512
    states: int = 16
    peers: tuple[str, ...] = tuple(PEERS)
    threads: int = 2
    rounds: int = 5
    seconds: float = 5.0  # for a slow implementation at one shape, about
    keep_freed_memory: bool = (
        False  # as `chartscan train` does; for all implementations, all from one process
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        shapes = (*self.forward, *self.backward, *self.memory, *self.roofline)
        numbers = (
            self.channels,
            self.states,
            self.threads,
            self.rounds,
            *(n for pair in shapes for n in pair),
        )
        if min(numbers) < 1 or self.seconds <= 0:
            raise ValueError("every size, threads, rounds and seconds must be at least 1")
        unknown = set(self.peers) - set(PEERS)
        if unknown:
            raise ValueError(f"no peers named {', '.join(sorted(unknown))}; there are: {'; '.join(PEERS)}")

    def shapes(self, pairs: Iterable[tuple[int, int]]) -> list[Shape]:
        return [Shape(*pair, self.channels, self.states) for pair in pairs]

    def run(self, progress: ProgressFunction = silent) -> dict[str, Any]:
        return run(self, progress)

    def table(self, found: dict[str, Any]) -> str:
        return table(found)


def run(settings: Settings, progress: ProgressFunction = silent) -> dict[str, Any]:
    peers = [PEERS[name] for name in settings.peers]
    cases = [(shape, False) for shape in settings.shapes(settings.forward)]
    cases += [(shape, True) for shape in settings.shapes(settings.backward)]
    spaces = [(shape, backward) for shape in settings.shapes(settings.memory) for backward in (False, True)]
    roofs = settings.shapes(settings.roofline)
    per_peer = len(cases) * (settings.rounds + 1) + len(spaces)
    counter = Counter(len(peers) * per_peer + len(roofs) * 5 * settings.rounds, progress)
    plan, watch = Plan(settings.rounds, settings.seconds), clock(settings.threads)
    with observed(settings.threads, settings.keep_freed_memory) as conditions:
        return {
            "bench": "scan",
            "conditions": conditions,
            "clock": watch.name,
            "times": [measure(peers, *case, watch, plan, counter) for case in cases],
            "memory": [memory(peers, *case, settings.threads, counter) for case in spaces],
            "roofline": [roof(shape, settings, watch, plan, counter) for shape in roofs],
        }


def measure(
    peers: Sequence[Peer], shape: Shape, backward: bool, watch: Clock, plan: Plan, counter: Counter
) -> dict[str, Any]:
    """One shape: the error of every implementation, then their times in turn."""
    words = f"{what(backward)}, {shape}:"
    rows: dict[str, dict[str, Any]] = {}
    calls, first = {}, {}
    expected = truth(shape, backward) if any(peer.comparable for peer in peers) else ()
    for peer in peers:
        counter.next(f"{words} checking {peer.name}")
        obstacle = peer.obstacle(shape, backward)
        row: dict[str, Any] = {"comparable": peer.comparable, "not_run": obstacle}
        rows[peer.name] = row
        if row["not_run"]:
            continue
        try:
            prepared = peer.prepare(shape)
            error, seconds = checked(prepared, expected if peer.comparable else None, backward, watch)
        except FAILURES as failure:
            row["not_run"] = failed(failure)
            continue
        row["error"] = error
        if error is not None and not error <= TOLERANCE:
            row["not_run"] = f"not timed: its result is wrong by {error:.1e} of the largest number"
            continue
        calls[peer.name] = prepared.run_both if backward else prepared.run
        first[peer.name] = seconds
    counter.skip((len(peers) - len(calls)) * plan.rounds)
    del expected
    baseline = next((name for name in BASELINES if name in calls), None)
    for name, found in compared(in_turn(calls, first, watch, plan, counter, words), baseline).items():
        rows[name] |= found
    return {**shape._asdict(), "pass": what(backward), "baseline": baseline, "rows": named(rows)}


def checked(
    prepared: Prepared, expected: tuple[Tensor, ...] | None, backward: bool, watch: Clock
) -> tuple[float | None, float]:
    """The largest relative error (None where there is nothing to equal), and the seconds of this call."""
    found: list[tuple[Tensor, ...]] = []
    seconds = watch.seconds(lambda: found.append(prepared.result(backward)))
    return None if expected is None else error_of(found[0], expected), seconds


def error_of(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference of any tensor, relative to its largest expected number; NaN where one is NaN."""
    errors = [
        (mine.double() - other).abs().max() / other.abs().max()
        for mine, other in zip(found, expected, strict=True)
    ]
    return float(torch.stack(errors).max())


def truth(shape: Shape, backward: bool) -> tuple[Tensor, ...]:
    """y, and where `backward` the gradients, computed in float64 by the chunked scan."""
    inputs, dy = random_inputs(shape)
    leaves = [tensor.requires_grad_(backward) for tensor in inputs.to(torch.float64)]
    x, dt, A, B, C, D, z, dt_bias = leaves
    y = selective_scan(x, dt, A, B, C, D=D, z=z, dt_bias=dt_bias, backend="chunked")[0]
    return (y.detach(), *torch.autograd.grad(y, leaves, dy.double())) if backward else (y,)


def memory(
    peers: Sequence[Peer], shape: Shape, backward: bool, threads: int, counter: Counter
) -> dict[str, Any]:
    """Extra peak bytes of every implementation: results and gradients count, the inputs do not."""
    rows: dict[str, dict[str, Any]] = {}
    for peer in peers:
        counter.next(f"memory, {what(backward)}, {shape}: {peer.name}")
        row: dict[str, Any] = {"not_run": peer.obstacle(shape, backward)}
        rows[peer.name] = row
        if not row["not_run"]:
            try:
                row["bytes"] = in_fresh_process(_extra_bytes, peer.name, shape, backward, threads)
            except FAILURES as failure:
                row["not_run"] = failed(failure)
    return {**shape._asdict(), "pass": what(backward), "rows": named(rows)}


def _extra_bytes(name: str, shape: Shape, backward: bool, threads: int) -> int:
    torch.set_num_threads(threads)
    warm = PEERS[name].prepare(shape._replace(length=16))
    warm.result(backward)  # what is allocated once: code, workspaces of libraries
    prepared = PEERS[name].prepare(shape)
    return extra_bytes(prepared.run_both if backward else prepared.run)


def roof(shape: Shape, settings: Settings, watch: Clock, plan: Plan, counter: Counter) -> dict[str, Any]:
    """The floor of a shape and our share of it, with the machine's rates measured between our passes."""
    peer, copy = PEERS["chartscan native"], roofline.Copy()
    found = {**shape._asdict(), "not_run": peer.obstacle(shape, True), "rows": []}
    if found["not_run"]:
        return found
    prepared, copies, multiply_adds = peer.prepare(shape), [], []
    passes: dict[bool, list[float]] = {False: [], True: []}
    watch.seconds(copy)
    for _ in range(plan.rounds):
        counter.next(f"limits of the machine, and {shape} between them")
        multiply_adds.append(roofline.multiply_adds(settings.threads, watch))
        copies.append(watch.seconds(copy, 3))
        for backward, call in ((False, prepared.run), (True, prepared.run_both)):
            call()  # the copy has emptied the caches
            passes[backward].append(watch.seconds(call, 8))
    rates = roofline.Rates(statistics.median(multiply_adds), copy.bytes / statistics.median(copies))
    found |= {"multiply_adds_per_second": rates.multiply_adds, "copied_bytes_per_second": rates.bytes}
    for backward, seconds in passes.items():
        least, median = roofline.floor(shape, rates, backward), statistics.median(seconds)
        row = {
            "pass": what(backward),
            "seconds": median,
            "floor": least.seconds,
            "share": least.seconds / median,
            "recurrence_share": least.recurrence_seconds and least.recurrence_seconds / median,
        }
        found["rows"].append(row | least._asdict())
    return found


def what(backward: bool) -> str:
    return "forward + backward" if backward else "forward"


def named(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name} | row for name, row in rows.items()]


def table(found: dict[str, Any]) -> str:
    """The result as lines to print."""
    lines = [described(found["conditions"]), f"Median {found['clock']}; x: times the baseline's time."]
    for case in found["times"]:
        lines += ["", f"{case['pass']}, {Shape(*(case[key] for key in Shape._fields))}"]
        rows = [
            [row["name"], row["not_run"]] if row["not_run"] else [row["name"], *timed_cells(row, 2)]
            for row in case["rows"]
        ]
        lines += text_table(("", *TIMED), rows)
    for case in found["memory"]:
        lines += ["", f"extra peak memory, {case['pass']}, {Shape(*(case[key] for key in Shape._fields))}"]
        rows = [[row["name"], row["not_run"] or f"{row['bytes'] / MIB:.1f} MiB"] for row in case["rows"]]
        lines += text_table(("", "", ""), rows)[1:]
    for case in found["roofline"]:
        lines += [
            "",
            f"limits of this machine, {Shape(*(case[key] for key in Shape._fields))}",
            *_roof_lines(case),
        ]
    return "\n".join(lines)


def _roof_lines(case: dict[str, Any]) -> list[str]:
    if case["not_run"]:
        return [case["not_run"]]
    giga = (case["multiply_adds_per_second"] / 1e9, case["copied_bytes_per_second"] / 1e9)
    lines = ["{:.1f} G multiply-adds/s, {:.1f} GB/s copied (read + written)".format(*giga)]
    for row in case["rows"]:
        lines.append(
            f"{row['pass']:32}{row['seconds'] * 1e3:11.2f} ms; floor {row['floor'] * 1e3:.2f} ms "
            f"(compute {row['compute_seconds'] * 1e3:.2f}, memory {row['memory_seconds'] * 1e3:.2f}): "
            f"{row['share']:.0%} of the roofline ({row['recurrence_share']:.0%} by the recurrence alone)"
        )
    return lines
