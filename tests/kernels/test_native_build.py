"""Without a compiler the package installs, says so, and works; an extension of old sources is noticed."""

import importlib
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from chartscan.kernels import causal_conv, native

library = importlib.import_module("chartscan.kernels.native.library")  # not the function of that name
REPOSITORY = Path(__file__).parents[2]
SCAN = """
import sys, torch
from chartscan.kernels import native, selective_scan
g = [torch.randn(s) for s in ((2, 9, 4), (2, 9, 4), (4, 3), (2, 9, 3), (2, 9, 3))]
for _ in range(2):
    y = selective_scan(g[0], g[1], -g[2].exp(), g[3], g[4])[0]
print(native.available(), tuple(y.shape))
"""


def run(*command, cwd, **environment):
    """What a Python prints to (stdout, stderr) that succeeded, with no directory on its PATH."""
    unset = ("CHARTSCAN_NATIVE", "CHARTSCAN_REQUIRE_NATIVE", "CHARTSCAN_SANITIZE", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    environment = {**kept, "PATH": "/nonexistent", "CC": "no-cc", "CXX": "no-c++", **environment}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def without_compiler(tmp_path_factory):
    """A copy of the sources, built where there is no compiler: (its folder, what the build said)."""
    pytest.importorskip("setuptools", reason="builds without pip")
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(REPOSITORY / "src", folder / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    return folder, run("setup.py", "--quiet", "build_ext", "--inplace", cwd=folder)[1]


def test_a_build_without_a_compiler_succeeds_with_one_line_of_warning(without_compiler):
    folder, said = without_compiler
    lines = [line for line in said.splitlines() if "WARNING" in line]
    assert len(lines) == 1
    assert "no C++ compiler was found" in lines[0]
    assert "apt install g++" in lines[0]
    assert not list(folder.rglob("*.so"))


def test_the_package_then_works_and_warns_once(without_compiler):
    folder, _ = without_compiler
    printed, warned = run("-c", SCAN, cwd=folder, PYTHONPATH=str(folder / "src"))
    assert printed.strip() == "False (2, 9, 4)"
    assert warned.count("The native kernels are not used: the extension was not built") == 1


def test_a_build_that_requires_the_kernels_fails_without_a_compiler(without_compiler):
    with pytest.raises(AssertionError, match="no-c"):
        run("setup.py", "--quiet", "build_ext", cwd=without_compiler[0], CHARTSCAN_REQUIRE_NATIVE="1")


@pytest.fixture
def fresh(monkeypatch):
    """The state of a new process: nothing looked for, nobody warned."""
    found = library._found
    found.cache_clear()
    monkeypatch.setattr(library, "_warned", [])
    yield monkeypatch
    found.cache_clear()


def test_it_can_be_switched_off_and_says_so_once(fresh):
    fresh.setenv("CHARTSCAN_NATIVE", "off")
    assert not native.available()
    assert native.why_not() == "CHARTSCAN_NATIVE=off"
    assert native.builds() == []
    with pytest.raises(RuntimeError, match="Unset it"):
        native.library()
    with pytest.warns(RuntimeWarning, match="are not used: CHARTSCAN_NATIVE=off; .* 6 to 10 times slower"):
        native.warn_once()
    with warnings.catch_warnings(action="error"):
        native.warn_once()


def test_a_file_that_is_no_extension_is_refused_with_the_reason(fresh, tmp_path):
    broken = tmp_path / "_native.abi3.so"
    broken.write_bytes(b"not a library")
    fresh.setenv("CHARTSCAN_NATIVE", str(broken))
    assert "cannot be loaded" in native.why_not()


def test_an_extension_with_other_structs_is_refused():
    found = library._checked(SimpleNamespace(ARGUMENTS="sha_old", SOURCES="sha_old"))
    assert found.library is None
    assert "arguments.h" in found.problem
    assert "make native" in found.remedy


def test_an_extension_of_older_sources_is_used_with_a_warning(fresh):
    arguments = library.digest([library.SOURCES / "arguments.h"])
    old = SimpleNamespace(ARGUMENTS=arguments, SOURCES="sha_old")
    fresh.setattr(library, "_found", lambda: library._checked(old))
    assert native.available()
    with pytest.warns(RuntimeWarning, match="are outdated: .* other sources.*make native"):
        native.warn_once()


@pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.why_not()}")
def test_a_scan_tells_of_an_extension_of_older_sources(fresh):
    old = SimpleNamespace(**(vars(native.library()) | {"SOURCES": "sha_old"}))
    fresh.setattr(library, "_found", lambda: library._checked(old))
    with pytest.warns(RuntimeWarning, match="are outdated"):
        causal_conv(torch.ones(1, 3, 2), torch.ones(2, 4), torch.ones(2))


@pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.why_not()}")
def test_the_extension_in_use_is_of_the_sources_here():
    assert library.digest(library.source_files()) == native.library().SOURCES, "run `make native`"


@pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.why_not()}")
def test_the_best_instruction_set_is_used_and_another_only_on_request():
    assert native.library().isa() == native.builds()[0]
    assert native.builds()[-1] == "portable"
    with native.build("portable"):
        assert native.library().isa() == "portable"
    assert native.library().isa() == native.builds()[0]
    with pytest.raises(ValueError, match="cannot be used on this machine"), native.build("mmx"):
        pass
    with pytest.raises(TypeError, match="expected a tuple of"):
        native.library().conv_forward((1, 2))
