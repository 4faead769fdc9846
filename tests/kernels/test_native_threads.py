"""The native kernels borrow PyTorch's threads: one OpenMP runtime in a process; in workers they work too."""

import multiprocessing
import subprocess
import sys

import pytest
import torch

from chartscan.kernels import causal_conv, native

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.why_not()}")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Prints the runtime in use, then all OpenMP libraries of the process, after native and PyTorch's threads ran.
LIBRARIES = """
import torch
from chartscan.kernels import causal_conv, native
torch.set_num_threads(2)
x = torch.randn(4, 200, 64)
causal_conv(x, torch.randn(64, 4), torch.randn(64), backend="native")
x @ torch.randn(64, 64)
print(native.library().runtime())
maps = {line.split()[-1] for line in open("/proc/self/maps") if "omp" in line.rsplit("/", 1)[-1]}
print(*sorted(maps))
"""


def some_output(threads=2):
    """A result of several threads, so small that PyTorch, which cannot use threads after a fork, uses one."""
    torch.set_num_threads(threads)
    g = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(s, generator=g) for s in ((4, 70, 32), (32, 4), (32,)))
    return causal_conv(x, weight, bias, silu=True, backend="native").flatten().tolist()


@linux
def test_there_is_one_openmp_runtime_and_it_is_torchs():
    printed = subprocess.run([sys.executable, "-c", LIBRARIES], capture_output=True, text=True, check=True)
    runtime, libraries = printed.stdout.splitlines()
    assert runtime.endswith(" of torch")
    assert len(libraries.split()) == 1
    assert runtime.removesuffix(" of torch") in libraries


@linux
def test_the_extension_links_no_openmp_and_no_torch():
    linked = subprocess.run(["ldd", native.library().__file__], capture_output=True, text=True, check=True)
    assert not [name for name in ("omp", "torch", "python") if name in linked.stdout.replace("sanitized", "")]


@pytest.mark.filterwarnings("default:.*multi-threaded, use of fork")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_process_gives_the_same_after_its_parent_used_threads(method):
    """A forked child has inherited the record of the parent's threads, not the threads."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    before = torch.get_num_threads()
    try:
        expected = some_output()
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.apply_async(some_output).get(timeout=60) == expected
    finally:
        torch.set_num_threads(before)


def test_a_process_without_torch_uses_threads_of_its_own():
    script = "import importlib.util as u; s = u.spec_from_file_location('_native', {!r});"
    script += "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.runtime(), m.fma_peak(3, 5) > 0)"
    command = [sys.executable, "-c", script.format(native.library().__file__)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["std::thread", "True"]
