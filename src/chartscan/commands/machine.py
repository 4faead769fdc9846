"""What of this machine a command may use: its processor threads and its GPU."""

import os

from chartscan.errors import ConfigError, check_settings


def threads_of(threads: int) -> int:
    """The number of threads to use: all that this process may have, if 0."""
    check_settings({"threads (0: all)": threads >= 0})
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_of(name: str) -> str:
    """The device `name`; ConfigError where there is none such, or this machine lacks it."""
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected cpu or cuda.")
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            why = (
                "this PyTorch was built for the CPU" if not torch.version.cuda else "no usable GPU was found"
            )
            raise ConfigError(
                f"--device cuda: {why}. Leave --device out to compute on the CPU, or install a PyTorch with "
                "CUDA (https://pytorch.org/get-started) on a machine with an NVIDIA GPU and driver."
            )
    return name
