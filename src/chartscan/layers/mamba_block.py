"""The Mamba block: norm, two projections, causal convolution, selective scan, gate, projection, residual.

Gu and Dao 2023, arXiv:2312.00752, initialised as in their code. The linear maps may run in bf16 (autocast);
convolution, scan and residual stay in float32.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chartscan.kernels import Read, causal_conv, selective_scan


@dataclass(frozen=True)
class BlockState:
    """What one block carries from one step to the next, for R sequences."""

    window: Tensor  # (R, K - 1, E), the latest inputs of the convolution, oldest first
    scan: Tensor  # (R, E, N)

    def at(self, rows: Tensor) -> "BlockState":
        """The states of `rows`, which may repeat."""
        return BlockState(self.window[rows], self.scan[rows])

    def detach(self) -> "BlockState":
        return BlockState(self.window.detach(), self.scan.detach())


class MambaBlock(nn.Module):
    """A residual block of width D, inner width E = expand x D, N states a channel, convolution of K steps."""

    def __init__(self, width: int, states: int, conv_width: int, expand: int, dt_rank: int):
        super().__init__()
        inner = expand * width
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.in_proj = nn.Linear(width, inner, bias=False)
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(inner, conv_width))
        self.conv_bias = nn.Parameter(torch.empty(inner))
        self.x_proj = nn.Linear(inner, dt_rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(dt_rank, inner, bias=False)
        self.dt_bias = nn.Parameter(torch.empty(inner))
        self.A_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))  # (E, N)
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self._initialise()

    @torch.no_grad()
    def _initialise(self, dt_min: float = 1e-3, dt_max: float = 1e-1) -> None:
        bound = 1 / math.sqrt(self.conv_weight.shape[1])
        self.conv_weight.uniform_(-bound, bound)
        self.conv_bias.uniform_(-bound, bound)
        bound = 1 / math.sqrt(self.dt_proj.in_features)
        self.dt_proj.weight.uniform_(-bound, bound)
        dt = torch.empty_like(self.dt_bias).uniform_(math.log(dt_min), math.log(dt_max)).exp()
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus(dt_bias) = dt

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        normed = self.norm(x)
        inputs = self.in_proj(normed)
        y, _, _ = self._scan(causal_conv(inputs, self.conv_weight, self.conv_bias), normed)
        return x + self.out_proj(y)

    def fork(self, x: Tensor, rows: Tensor, positions: Tensor) -> tuple[Tensor, BlockState]:
        """As `forward`, and the state after `positions` of `rows` (R,), from which sequences can go on."""
        normed = self.norm(x)
        inputs = self.in_proj(normed)
        read = (rows, positions)
        y, _, scan = self._scan(causal_conv(inputs, self.conv_weight, self.conv_bias), normed, read=read)
        back = torch.arange(2 - self.conv_weight.shape[1], 1, device=x.device)
        steps = positions.unsqueeze(1) + back  # (R, K - 1)
        window = inputs[rows.unsqueeze(1), steps.clamp(min=0)].to(scan.dtype) * (steps >= 0).unsqueeze(2)
        return x + self.out_proj(y), BlockState(window, scan)

    def step(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """One step of R sequences: (R, D) and the state before -> (R, D) and the state after."""
        normed = self.norm(x)
        inputs = self.in_proj(normed).to(state.window.dtype)
        window = torch.cat([state.window, inputs.unsqueeze(1)], 1)  # (R, K, E)
        convolved = torch.addcmul(self.conv_bias, window[:, 0], self.conv_weight[:, 0])
        for k in range(1, window.shape[1]):
            convolved = torch.addcmul(convolved, window[:, k], self.conv_weight[:, k])
        y, scan, _ = self._scan(convolved.unsqueeze(1), normed.unsqueeze(1), state.scan)
        return x + self.out_proj(y.squeeze(1)), BlockState(window[:, 1:], scan)

    def init_state(self, rows: int) -> BlockState:
        """The state before the first step."""
        inner, taps = self.conv_weight.shape
        return BlockState(self.D.new_zeros(rows, taps - 1, inner), self.D.new_zeros(rows, *self.A_log.shape))

    def _scan(
        self, convolved: Tensor, normed: Tensor, state: Tensor | None = None, read: Read | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gated output (B, L, E), last state and states read, from the convolution's output."""
        x = F.silu(convolved)
        n = self.A_log.shape[1]
        low, B, C = self.x_proj(x).split([self.dt_proj.in_features, n, n], dim=2)
        A = -torch.exp(self.A_log)
        dt, z = self.dt_proj(low), self.gate_proj(normed)
        return selective_scan(x, dt, A, B, C, self.D, z, self.dt_bias, state, read)
