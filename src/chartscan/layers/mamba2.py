"""The Mamba-2 block: norm, joint projection, causal convolution, state-space duality, gated norm, residual.

Dao and Gu 2024, arXiv:2405.21060, section 7, initialised as in their code. Unlike in the Mamba block, step
size, B and C come from the block's input in the projection that gives x and gate; x, B and C pass the
convolution; the channels of a head share step size and decay; and the gated output is normed once more. Under
bf16 autocast the linear maps run in bf16; state, scan, norms and the residual stay in float32.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.kernels import Read, causal_conv, linear, ssd, ssd_step


@dataclass(frozen=True)
class BlockState:
    """What one block carries from one step to the next, for R sequences."""

    window: Tensor  # (R, K - 1, E + 2N), the latest inputs of the convolution, oldest first
    scan: Tensor  # (R, H, P, N)

    def at(self, rows: Tensor) -> "BlockState":
        """The states of `rows`, which may repeat."""
        return BlockState(self.window[rows], self.scan[rows])

    def detach(self) -> "BlockState":
        return BlockState(self.window.detach(), self.scan.detach())


class Mamba2Block(nn.Module):
    """A residual Mamba-2 block of width D, inner width E = expand x D.

    E is made of heads of P channels, with N states a channel. B and C are shared by all heads (one group).
    `chunk`: most steps that are one matrix product; it changes speed and rounding only.
    """

    def __init__(self, width: int, states: int, head_width: int, conv_width: int, expand: int, chunk: int):
        super().__init__()
        inner = expand * width
        if inner % head_width:
            raise ValueError(f"heads of {head_width} channels do not divide {inner}")
        heads, convolved = inner // head_width, inner + 2 * states
        self.head_width, self.chunk = head_width, chunk
        self.projected = inner, convolved, heads  # sizes of gate; x, B and C; step size
        self.convolved = inner, states, states  # of x, B, C
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.in_proj = nn.Linear(width, sum(self.projected), bias=False)
        self.conv_weight = nn.Parameter(torch.empty(convolved, conv_width))
        self.conv_bias = nn.Parameter(torch.empty(convolved))
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.A_log = nn.Parameter(torch.empty(heads))
        self.D = nn.Parameter(torch.ones(heads))
        self.gated_norm = nn.RMSNorm(inner, eps=1e-5)
        self.out_proj = nn.Linear(inner, width, bias=False)
        self._initialise()

    @torch.no_grad()
    def _initialise(self, dt_min: float = 1e-3, dt_max: float = 1e-1) -> None:
        bound = 1 / math.sqrt(self.conv_weight.shape[1])
        self.conv_weight.uniform_(-bound, bound)
        self.conv_bias.uniform_(-bound, bound)
        self.A_log.uniform_(1, 16).log_()
        dt = torch.empty_like(self.dt_bias).uniform_(math.log(dt_min), math.log(dt_max)).exp()
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus(dt_bias) = dt

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D). Steps at or beyond `lengths` (B,) are padding, and mean nothing."""
        gate, joint, dt = self._projected(x)
        y, _ = self._scanned(joint, dt, lengths)
        return self._out(x, y, gate)

    def fork(
        self, x: Tensor, rows: Tensor, positions: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, BlockState]:
        """As `forward`, with states after `positions` of `rows` (R,), to continue from."""
        gate, joint, dt = self._projected(x)
        y, scan = self._scanned(joint, dt, lengths, (rows, positions))
        back = torch.arange(2 - self.conv_weight.shape[1], 1, device=x.device)
        steps = positions.unsqueeze(1) + back  # (R, K - 1)
        window = joint[rows.unsqueeze(1), steps.clamp(min=0)].to(scan.dtype)
        return self._out(x, y, gate), BlockState(window * (steps >= 0).unsqueeze(2), scan)

    def step(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """Run one step of R sequences: (R, D) and state before -> (R, D) and state after."""
        gate, joint, dt = self._projected(x.unsqueeze(1))
        u, B, C = (v.squeeze(1) for v in self._convolved(joint, state.window))
        y, scan = ssd_step(u, dt.squeeze(1), -torch.exp(self.A_log), B, C, self.D, self.dt_bias, state.scan)
        window = torch.cat([state.window, joint.to(state.window.dtype)], 1)[:, 1:]
        return self._out(x, y, gate.squeeze(1)), BlockState(window, scan)

    def init_state(self, rows: int) -> BlockState:
        """The state before the first step."""
        (_, convolved, heads), (_, states, _) = self.projected, self.convolved
        return BlockState(
            self.D.new_zeros(rows, self.conv_weight.shape[1] - 1, convolved),
            self.D.new_zeros(rows, heads, self.head_width, states),
        )

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate (B, L, E), input of the convolution (B, L, E + 2N) and of the step size (B, L, H)."""
        gate, joint, dt = linear(self.norm(x), self.in_proj.weight).split(self.projected, dim=-1)
        return gate, joint, dt

    def _convolved(self, joint: Tensor, window: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, L, H, P), B and C (B, L, N) of the scan."""
        mixed = causal_conv(joint, self.conv_weight, self.conv_bias, window, silu=True)
        u, B, C = mixed.split(self.convolved, dim=-1)
        return u.unflatten(-1, (-1, self.head_width)), B, C

    def _scanned(
        self, joint: Tensor, dt: Tensor, lengths: Tensor | None, read: Read | None = None
    ) -> tuple[Tensor, Tensor]:
        """Output (B, L, H, P) and states read."""
        u, B, C = self._convolved(joint)
        A = -torch.exp(self.A_log)
        y, _, states = ssd(u, dt, A, B, C, self.D, self.dt_bias, self.chunk, lengths=lengths, read=read)
        return y, states

    def _out(self, x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
        """Gate, norm, projection and residual."""
        kind = self.gated_norm.weight.dtype
        gated = y.flatten(-2).to(kind) * F.silu(gate.to(kind))
        return x + linear(self.gated_norm(gated), self.out_proj.weight)
