"""The selective scan in plain PyTorch, by tiles: linear time and memory both ways.

A tile is T steps of R rows. Everything but the recurrence runs on the whole tile at once; the recurrence is
one fused multiply-add a step. Only the state at each tile's first step is kept for the backward pass, which
recomputes the rest (extra memory about N/T tensors of (B, L, E)). Inside a tile the layout is (T, R, N, E):
channels innermost, so that no broadcast has a short inner loop. exp2 takes a quarter of the time of exp here.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOG2_E = 1.4426950408889634
_MIN_STEPS, _MAX_STEPS = 16, 64
_CHANNELS = 4096  # rows x channels a tile aims at: enough for one step to outweigh the cost of the call
_ELEMENTS = 2**20  # steps x rows x channels x states a tile aims at (4 MiB in float32)


def scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, rows: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """y (B, L, E) without skip and gate, last state (B, E, N), states after (rows, positions) (R, E, N)."""
    inputs = (x, delta, A.t().contiguous(), B, C, state.transpose(1, 2), rows, positions)
    if torch.is_grad_enabled():
        y, last, read = _Scan.apply(*inputs)  # type: ignore[no-untyped-call]
    else:
        y, last, read = _forward(None, *inputs)
    return y, last.transpose(1, 2), read.transpose(1, 2)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, A = inputs[0], inputs[2]
        plan = _Plan.of(x, A.shape[0])
        checkpoints = x.new_empty(-(-plan.length // plan.steps), plan.batch, *A.shape)
        outputs = _forward(checkpoints, *inputs)
        ctx.save_for_backward(*inputs, checkpoints)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dlast: Tensor, dread: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return (*_backward(ctx.saved_tensors, dy, dlast, dread), None, None)


class _Plan(NamedTuple):
    """How (B, L) is cut into tiles of at most `rows` x `steps`."""

    batch: int
    length: int
    rows: int
    steps: int

    @classmethod
    def of(cls, x: Tensor, states: int) -> "_Plan":
        batch, length, channels = x.shape
        shortest = max(1, min(length, _MIN_STEPS))
        most = max(1, _CHANNELS * _MIN_STEPS // (channels * shortest)) if x.device.type == "cpu" else batch
        rows = -(-batch // -(-batch // most)) if batch else 1  # row tiles of nearly equal height
        steps = min(max(_ELEMENTS // (rows * channels * states), shortest), _MAX_STEPS, max(length, 1))
        return cls(batch, length, rows, steps)

    def row_tiles(self) -> Iterator[slice]:
        return (slice(r, min(r + self.rows, self.batch)) for r in range(0, self.batch, self.rows))

    def step_tiles(self) -> list[slice]:
        return [slice(t, min(t + self.steps, self.length)) for t in range(0, self.length, self.steps)]


class _Workspace:
    """The large tensors of a tile, kept from tile to tile, with the views of single steps."""

    def __init__(self, steps: int, A: Tensor, rows: int):
        self.decay = A.new_empty(steps, rows, *A.shape)  # (T, R, N, E)
        self.h = A.new_empty(steps + 1, rows, *A.shape)  # h[0] is the state before the tile
        self.g = A.new_empty(steps, rows, *A.shape)  # gradient of the loss by h[1:]; backward only
        self.decays, self.hs, self.gs = self.decay.unbind(0), self.h.unbind(0), self.g.unbind(0)

    def run(self, delta: Tensor, u: Tensor, A_log2: Tensor, B: Tensor, before: Tensor) -> None:
        """Fill `decay` and `h`: `delta`, `u` = delta x (T, R, E), `B` (T, R, N), `before` (R, N, E)."""
        torch.mul(delta.unsqueeze(2), A_log2, out=self.decay).exp2_()
        torch.mul(u.unsqueeze(2), B.unsqueeze(3), out=self.h[1:])
        self.hs[0].copy_(before)
        for k, decay in enumerate(self.decays):
            self.hs[k + 1].addcmul_(self.hs[k], decay)

    def run_back(self, dy: Tensor, C: Tensor, dafter: Tensor, reads: "list[_Read]", dread: Tensor) -> None:
        """Fill `g` from the gradients by the outputs, by the state after the tile, and by states read."""
        torch.mul(dy.unsqueeze(2), C.unsqueeze(3), out=self.g)
        self.gs[-1].add_(dafter)
        for read in reads:
            self.gs[read.step][read.row].add_(dread[read.place])
        for k in range(len(self.gs) - 1, 0, -1):
            self.gs[k - 1].addcmul_(self.gs[k], self.decays[k])


class _Workspaces:
    """One workspace for each shape of tile met (at most four: inner, right, bottom, corner)."""

    def __init__(self, A: Tensor):
        self._A = A
        self._known: dict[tuple[int, int], _Workspace] = {}

    def of(self, tile: Tensor) -> _Workspace:
        steps, rows = tile.shape[:2]
        if (steps, rows) not in self._known:
            self._known[steps, rows] = _Workspace(steps, self._A, rows)
        return self._known[steps, rows]


class _Read(NamedTuple):
    """A state asked for: `place` in the result, after step `step` of row `row` of its tile."""

    place: int
    step: int
    row: int


def _reads(rows: Tensor, positions: Tensor, plan: _Plan) -> dict[tuple[int, int], list[_Read]]:
    """The states asked for, by the first row and first step of the tile that computes them."""
    found: dict[tuple[int, int], list[_Read]] = {}
    for place, (row, position) in enumerate(zip(rows.tolist(), positions.tolist(), strict=True)):
        row_in_tile, step = row % plan.rows, position % plan.steps
        found.setdefault((row - row_in_tile, position - step), []).append(_Read(place, step, row_in_tile))
    return found


def _time_major(tensor: Tensor, time: slice, rows: slice) -> Tensor:
    """A tile (T, R, .) of a (B, L, .) tensor, contiguous."""
    return tensor[rows, time].transpose(0, 1).contiguous()


def _forward(
    checkpoints: Tensor | None,  # (tiles, B, N, E) to be filled, where a backward pass will follow
    x: Tensor,
    delta: Tensor,
    A: Tensor,  # (N, E) here and below; states are (B, N, E)
    B: Tensor,
    C: Tensor,
    state: Tensor,
    rows: Tensor,
    positions: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    plan = _Plan.of(x, A.shape[0])
    reads = _reads(rows, positions, plan)
    y, last, read = torch.empty_like(x), state.clone(), x.new_empty(len(rows), *A.shape)
    A_log2 = A * LOG2_E
    workspaces = _Workspaces(A)
    for r in plan.row_tiles():
        h = last[r]
        for i, t in enumerate(plan.step_tiles()):
            if checkpoints is not None:
                checkpoints[i, r] = h
            delta_t, B_t, C_t = (_time_major(v, t, r) for v in (delta, B, C))
            work = workspaces.of(delta_t)
            work.run(delta_t, delta_t * x[r, t].transpose(0, 1), A_log2, B_t, h)
            h.copy_(work.hs[-1])
            y_t = torch.bmm(C_t.flatten(0, 1).unsqueeze(1), work.h[1:].flatten(0, 1))
            y[r, t] = y_t.view(delta_t.shape).transpose(0, 1)
            for asked in reads.get((r.start, t.start), []):
                read[asked.place] = work.hs[asked.step + 1][asked.row]
    return y, last, read


def _backward(saved: tuple[Tensor, ...], dy: Tensor, dlast: Tensor, dread: Tensor) -> tuple[Tensor, ...]:
    """Gradients by x, delta, A, B, C and the first state."""
    x, delta, A, B, C, _, rows, positions, checkpoints = saved
    plan = _Plan.of(x, A.shape[0])
    reads = _reads(rows, positions, plan)
    dx, ddelta, dA = torch.empty_like(x), torch.empty_like(x), torch.zeros_like(A)
    dB, dC, dstate = torch.empty_like(B), torch.empty_like(C), dlast.clone()
    A_log2 = A * LOG2_E
    workspaces = _Workspaces(A)
    for r in plan.row_tiles():
        dafter = dstate[r]  # gradient by the state after the tile, then before it
        for i, t in reversed(list(enumerate(plan.step_tiles()))):
            x_t, delta_t, B_t, C_t, dy_t = (_time_major(v, t, r) for v in (x, delta, B, C, dy))
            u = delta_t * x_t
            work = workspaces.of(delta_t)
            work.run(delta_t, u, A_log2, B_t, checkpoints[i, r])
            work.run_back(dy_t, C_t, dafter, reads.get((r.start, t.start), []), dread)
            dC[r, t] = _dot_channels(dy_t, work.h[1:])
            dB[r, t] = _dot_channels(u, work.g)
            du = torch.bmm(B_t.flatten(0, 1).unsqueeze(1), work.g.flatten(0, 1)).view(u.shape)
            w = work.decay.mul_(work.g)  # gradient by the state before each step
            dafter.copy_(w[0])
            w.mul_(work.h[:-1])  # gradient by delta A
            dA += torch.mul(w, delta_t.unsqueeze(2), out=work.g).sum((0, 1))
            ddelta[r, t] = w.mul_(A).sum(2).addcmul_(du, x_t).transpose(0, 1)
            dx[r, t] = du.mul_(delta_t).transpose(0, 1)
    return dx, ddelta, dA, dB, dC, dstate


def _dot_channels(v: Tensor, tile: Tensor) -> Tensor:
    """sum_e v[t, r, e] tile[t, r, n, e], as (R, T, N). A row vector times a transpose is the fast order."""
    product = torch.bmm(v.flatten(0, 1).unsqueeze(1), tile.flatten(0, 1).transpose(1, 2))
    return product.view(*v.shape[:2], -1).transpose(0, 1)
