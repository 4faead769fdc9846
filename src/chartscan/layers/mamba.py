"""The Mamba block and its stack, whose step is native where gradients are off.

The block: norm, joint projection, causal convolution, selective scan, gate, projection, residual.
Gu and Dao 2023, arXiv:2312.00752, initialised as in their code. Under bf16 autocast the linear maps run in
bf16 and so do the tensors between them; the scan's state and arithmetic and the residual stay in float32.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from chartscan.kernels import Backend, MixerWeights, Read, linear, mixer
from chartscan.kernels.choice import chosen
from chartscan.kernels.native.stack import BlockStack, BlockWeights, StackStates
from chartscan.layers.stack import ResidualStack


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
    """A residual Mamba block of width D, inner width E = expand x D.

    N states a channel, convolution of K steps. `backend` chooses the implementation of the scan
    (chartscan.kernels.choice).
    """

    def __init__(
        self,
        width: int,
        states: int,
        conv_width: int,
        expand: int,
        dt_rank: int,
        backend: Backend = "auto",
    ):
        super().__init__()
        inner = expand * width
        self.backend = backend
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)  # input of the convolution, then the gate
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

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D). Steps at or beyond `lengths` (B,) are padding, and mean nothing."""
        y, _, _ = self._mixed(self._joint(x), lengths=lengths)
        return x + linear(y, self.out_proj.weight)

    def fork(
        self, x: Tensor, rows: Tensor, positions: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, BlockState]:
        """As `forward`, with states after `positions` of `rows` (R,), to continue from."""
        xz = self._joint(x)
        y, _, scan = self._mixed(xz, lengths=lengths, read=(rows, positions))
        back = torch.arange(2 - self.conv_weight.shape[1], 1, device=x.device)
        steps = positions.unsqueeze(1) + back  # (R, K - 1)
        window = xz.chunk(2, dim=2)[0][rows.unsqueeze(1), steps.clamp(min=0)].to(scan.dtype)
        return x + linear(y, self.out_proj.weight), BlockState(window * (steps >= 0).unsqueeze(2), scan)

    def step(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """Run one step of R sequences: (R, D) and state before -> (R, D) and state after."""
        xz = self._joint(x.unsqueeze(1))
        y, scan, _ = self._mixed(xz, state)
        latest = xz.chunk(2, dim=2)[0].to(state.window.dtype)
        window = torch.cat([state.window, latest], 1)[:, 1:]
        return x + linear(y.squeeze(1), self.out_proj.weight), BlockState(window, scan)

    def init_state(self, rows: int) -> BlockState:
        """The state before the first step."""
        inner, taps = self.conv_weight.shape
        return BlockState(self.D.new_zeros(rows, taps - 1, inner), self.D.new_zeros(rows, *self.A_log.shape))

    def weights(self) -> BlockWeights | None:
        """Return all parameters for the native step; None where one is replaced."""
        own, parts = self._parameters, self._modules  # nn.Module's attribute access is slower than a step
        try:
            return BlockWeights._make(
                own[name] if name in own else parts[name]._parameters["weight"]  # type: ignore[union-attr]
                for name in BlockWeights._fields
            )
        except KeyError:  # pruned or parametrized
            return None

    def _joint(self, x: Tensor) -> Tensor:
        """Input of the convolution beside the gate, (B, L, 2E)."""
        return linear(self.norm(x), self.in_proj.weight)

    def _mixed(
        self,
        xz: Tensor,
        state: BlockState | None = None,
        lengths: Tensor | None = None,
        read: Read | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gated output (B, L, E), last state and states read."""
        weights = MixerWeights(
            self.conv_weight,
            self.conv_bias,
            self.x_proj.weight,
            self.dt_proj.weight,
            self.dt_bias,
            -torch.exp(self.A_log),
            self.D,
        )
        window, scan = (None, None) if state is None else (state.window, state.scan)
        return mixer(xz, weights, window, scan, lengths, read, self.backend)


class MambaStack(ResidualStack[BlockState]):
    """Mamba blocks of one size, the first nearest to the input."""

    def __init__(self, blocks: Iterable[MambaBlock]):
        super().__init__(blocks)
        self._native: BlockStack | None = None  # of these weights, once a step asked for it

    def step(self, x: Tensor, states: tuple[BlockState, ...]) -> tuple[Tensor, tuple[BlockState, ...]]:
        """Run one step of R sequences: (R, D) and states before -> (R, D) and states after."""
        native = self._native_stack() if self._steps_natively(x) else None
        return super().step(x, states) if native is None else _native_step(native, x, states)

    def _mamba_blocks(self) -> list[MambaBlock]:
        return cast(list[MambaBlock], list(self))

    def _steps_natively(self, x: Tensor) -> bool:
        first = self._mamba_blocks()[0]
        return (
            not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and type(x) is Tensor  # and not a stand-in without memory
            and x.dtype == torch.float32
            and chosen(first.backend, x, first.D) == "native"
        )

    def _native_stack(self) -> BlockStack | None:
        """The stack of the weights as they are now; None where a step must go block by block."""
        weights = [block.weights() for block in self._mamba_blocks()]
        found = [w for w in weights if w is not None]
        if len(found) < len(weights):
            return None
        if self._native is None or not self._native.holds(found):
            self._native = BlockStack(found)
        return self._native

    def __getstate__(self) -> dict[str, Any]:
        """Without the native stack: a copy has weights of its own."""
        return self.__dict__ | {"_native": None}


def _native_step(
    stack: BlockStack, x: Tensor, states: tuple[BlockState, ...]
) -> tuple[Tensor, tuple[BlockState, ...]]:
    before = StackStates(
        [state.window.contiguous() for state in states], [state.scan.contiguous() for state in states]
    )
    y, after = stack.step(x.resolve_neg().contiguous(), before)
    return y, tuple(map(BlockState, after.windows, after.scans))
