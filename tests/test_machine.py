"""Freed memory stays with the process where the C library can be told so."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from chartscan.machine import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(2**21)  # 8 MiB, 2,048 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
torch.zeros(2**24)
assert keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_large_tensors_do_not_fault_again_and_again():
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 2048  # one tensor's pages at most, not twenty's
