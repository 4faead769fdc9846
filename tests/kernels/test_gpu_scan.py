"""The Triton kernels equal the written recurrence: in Triton's interpreter, and on a GPU where there is one.

Each runs `gpu_cases.py` in a process of its own: Triton decides when it is imported whether it interprets.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chartscan.errors import ConfigError
from chartscan.kernels import gpu, selective_scan
from chartscan.kernels.gpu.inputs import checked
from scan_inputs import scan_inputs

CASES = Path(__file__).with_name("gpu_cases.py")
ALL = ("-m", "soak or not soak")


def run_cases(*which, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "TRITON_INTERPRET"))}
    command = [sys.executable, "-m", "pytest", str(CASES), "-p", "no:cacheprovider", "-p", "no:xdist", *which]
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_kernels_equal_the_recurrence_in_tritons_interpreter():
    pytest.importorskip("triton", reason="Triton is not made for this platform")
    run_cases(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


@pytest.mark.soak
def test_the_kernels_equal_the_recurrence_in_all_cases_in_tritons_interpreter():
    pytest.importorskip("triton", reason="Triton is not made for this platform")
    run_cases(*ALL, TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


@pytest.mark.gpu
@pytest.mark.skipif(not gpu.available(), reason=f"no GPU to run on: {gpu.why_not()}")
def test_the_kernels_equal_the_recurrence_on_the_gpu():
    run_cases(*ALL)


def test_everything_imports_where_there_is_no_triton():
    code = "import sys; sys.modules['triton'] = None; import chartscan.kernels.gpu.operator"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(gpu.available(), reason="there is a GPU")
def test_without_a_gpu_the_reason_is_told():
    assert "CUDA" in gpu.why_not()
    with pytest.raises(ConfigError, match="triton"):
        selective_scan(**scan_inputs(length=3), backend="triton")


def test_tensors_on_the_processor_are_refused_before_a_kernel_runs():
    inputs = {k: v.detach() for k, v in scan_inputs(length=3).items()}
    with pytest.raises(ValueError, match="x is on cpu; the Triton kernels need a CUDA device"):
        checked(**inputs, lengths=None)
