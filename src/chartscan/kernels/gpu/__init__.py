"""The selective scan on GPUs, in Triton. Nothing here imports Triton until a scan runs.

One kernel a file: `forward`, `backward`, `read_states`, `step` and `add_partials`, which adds the shares of
tiles in order. `operator` makes them one PyTorch operator; `scan` chooses between it and mamba_ssm.
"""

from chartscan.kernels.gpu.dispatch import scan
from chartscan.kernels.gpu.inputs import available, why_not

__all__ = ["available", "scan", "why_not"]
