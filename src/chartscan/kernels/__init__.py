"""The kernels of a Mamba block, one function each, with several implementations.

`choice` selects among them. Channels last throughout: B rows, L steps, E channels, N states a channel.
Nothing here knows what the numbers mean.
"""

from chartscan.kernels.choice import BACKENDS, Backend, described
from chartscan.kernels.mixer import MixerWeights, causal_conv, mixer
from chartscan.kernels.products import linear
from chartscan.kernels.reference import Read
from chartscan.kernels.scan import selective_scan
from chartscan.kernels.ssd import ssd, ssd_step

__all__ = [
    "BACKENDS",
    "Backend",
    "MixerWeights",
    "Read",
    "causal_conv",
    "described",
    "linear",
    "mixer",
    "selective_scan",
    "ssd",
    "ssd_step",
]
