"""Random inputs of a mixer."""

import torch

from chartscan.kernels import MixerWeights


def mixer_inputs(rows=2, length=35, channels=12, states=8, taps=4, rank=3, dtype=torch.float32, seed=0):
    """xz, weights, window, state: all of them ask for gradients."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return (scale * torch.randn(*shape, generator=g, dtype=torch.float64)).to(dtype).requires_grad_()

    weights = MixerWeights(
        conv_weight=normal(channels, taps),
        conv_bias=normal(channels),
        x_proj=normal(rank + 2 * states, channels, scale=channels**-0.5),
        dt_proj=normal(channels, rank, scale=rank**-0.5),
        dt_bias=normal(channels),
        A=(-torch.exp(normal(channels, states).detach())).requires_grad_(),
        D=normal(channels),
    )
    window, state = normal(rows, taps - 1, channels), normal(rows, channels, states)
    return normal(rows, length, 2 * channels), weights, window, state
