"""The scan on a GPU, timed: `python lab/benchmarks/gpu_scan.py [OUT.json]`.

Forward, and forward with all gradients, at B 4, L 2048, E 512, N 16, in float32 and bfloat16: Triton, and
mamba_ssm where it is installed. Beside milliseconds: the bytes that any scan must move, as a share of what
the card's memory moves in a copy measured here. Needs a CUDA device; it has not yet run on one, and no result
of it has been published.
"""

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chartscan.kernels import gpu
from chartscan.kernels.gpu import mamba_ssm

ROWS, STEPS, CHANNELS, STATES = 4, 2048, 512, 16
WARM_UP, CALLS = 5, 30
COPIED = 2**30  # bytes; larger than any cache


def main(out: Path | None) -> None:
    if not gpu.available():
        sys.exit(f"The Triton kernels cannot be timed here: {gpu.why_not()}.")
    bandwidth = copy_bandwidth()
    rows = [row for dtype in (torch.float32, torch.bfloat16) for row in timed(dtype, bandwidth)]
    found = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "shape": {"B": ROWS, "L": STEPS, "E": CHANNELS, "N": STATES},
        "bytes_per_second": bandwidth,
        "results": rows,
    }
    print(json.dumps(found, indent=1))
    print(table(rows))
    if out is not None:
        out.write_text(json.dumps(found, indent=1))


def timed(dtype: torch.dtype, bandwidth: float) -> list[dict[str, Any]]:
    """One row for each implementation and pass."""
    inputs = random_inputs(dtype)
    names = ["triton"]
    if mamba_ssm.usable(inputs["x"], inputs["A"], None, None, None):
        names.append("mamba_ssm")
    rows = []
    for name in names:
        for what, call in (("forward", forward), ("forward + backward", with_gradients)):
            seconds = median_seconds(lambda call=call, name=name: call(inputs, name))
            moved = least_bytes(inputs, gradients=call is with_gradients)
            rows.append(
                {
                    "dtype": str(dtype).removeprefix("torch."),
                    "implementation": name,
                    "pass": what,
                    "milliseconds": 1000 * seconds,
                    "share_of_bandwidth": moved / seconds / bandwidth,
                }
            )
    return rows


def forward(inputs: dict[str, Tensor], name: str) -> None:
    with torch.no_grad():
        gpu.scan(**inputs, backend=name)


def with_gradients(inputs: dict[str, Tensor], name: str) -> None:
    y = gpu.scan(**inputs, backend=name)[0]
    torch.autograd.grad(y, list(inputs.values()), torch.ones_like(y))


def random_inputs(dtype: torch.dtype) -> dict[str, Tensor]:
    torch.manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, device="cuda")

    wide, narrow = (ROWS, STEPS, CHANNELS), (ROWS, STEPS, STATES)
    sequences = {"x": normal(*wide), "dt": normal(*wide), "B": normal(*narrow), "C": normal(*narrow)}
    sequences["z"] = normal(*wide)
    found = {name: tensor.to(dtype) for name, tensor in sequences.items()}
    found |= {"A": -normal(CHANNELS, STATES).exp(), "D": normal(CHANNELS), "dt_bias": normal(CHANNELS) - 4}
    return {name: tensor.requires_grad_() for name, tensor in found.items()}


def least_bytes(inputs: dict[str, Tensor], gradients: bool) -> int:
    """Every sequence read and y written once; for gradients, all read again and theirs written."""
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in inputs.items()}
    read, written = sum(sizes.values()), sizes["x"]
    return read + written + (2 * read + sizes["x"] if gradients else 0)


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of a large copy."""
    source = torch.empty(COPIED, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPIED / median_seconds(lambda: target.copy_(source))


def median_seconds(call: Callable[[], object]) -> float:
    """By events on the device, after calls that compile and warm up."""
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(CALLS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return statistics.median(times)


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'type':9} {'implementation':15} {'pass':19} {'ms':>8} {'of bandwidth':>13}"]
    for row in rows:
        lines.append(
            f"{row['dtype']:9} {row['implementation']:15} {row['pass']:19} {row['milliseconds']:8.3f} "
            f"{row['share_of_bandwidth']:13.1%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
