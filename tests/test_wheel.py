"""The wheels in an empty environment: every file is in them, and the tutorial runs without the checkout."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak  # downloads PyTorch: make wheel-test

ROOT = Path(__file__).parent.parent
BUILT = ("*.egg-info", "*.so", "__pycache__", "build")


def run(*command, cwd):
    """Standard output of a command that succeeds; it sees neither the checkout nor its settings."""
    seen = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=seen, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The wheels of chartscan and chartscan-lab, built from a copy of the sources."""
    place = tmp_path_factory.mktemp("wheels")
    probe = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--dest",
        str(place / "probe"),
        "iniconfig",
    ]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("no package index can be reached")
    for name in ("src", "lab"):
        shutil.copytree(ROOT / name, place / "copy" / name, ignore=shutil.ignore_patterns(*BUILT))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / "copy")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--wheel-dir",
        place,
        "./copy",
        "./copy/lab",
        cwd=place,
    )
    found = {path.name.partition("-")[0]: path for path in place.glob("*.whl")}
    assert set(found) == {"chartscan", "chartscan_lab"}
    return found


@pytest.fixture(scope="module")
def empty(tmp_path_factory, wheels):
    """The `bin` folder of a new environment that has the wheel of chartscan, and nothing of the checkout."""
    place = tmp_path_factory.mktemp("empty")
    run(sys.executable, "-m", "venv", place / "venv", cwd=place)
    commands = place / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    install(commands, "--constraint", ROOT / "constraints.txt", wheels["chartscan"])
    return commands


def install(commands, *what):
    run(commands / "python", "-m", "pip", "install", "--disable-pip-version-check", *what, cwd=commands)


@pytest.mark.parametrize(("package", "sources"), [("chartscan", "src"), ("chartscan_lab", "lab/src")])
def test_every_module_and_data_file_is_in_the_wheel(wheels, package, sources):
    tracked = run("git", "ls-files", sources, cwd=ROOT).split()
    wanted = {path.removeprefix(f"{sources}/") for path in tracked if "kernels/native/src/" not in path}
    with zipfile.ZipFile(wheels[package]) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith(f"{package}/")}
    assert {name for name in packed if "kernels/native/_native" not in name} == wanted


def test_the_environment_has_the_tested_torch(empty):
    wanted = re.search(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    code = "import torch, chartscan; print(torch.__version__, chartscan.__file__)"
    version, place = run(empty / "python", "-c", code, cwd=empty.parent).split(maxsplit=1)
    assert version.partition("+")[0] == wanted[1]
    assert Path(place.strip()).is_relative_to(empty.parent)


def test_the_tutorial_runs_from_the_export_to_the_report(empty, tmp_path):
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8").partition("## A network")[0]
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "tutorial.py").write_text("\n".join(blocks), encoding="utf-8")
    run(empty / "python", "tutorial.py", cwd=tmp_path)
    report = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert report.startswith("<!DOCTYPE html>")
    assert "Traceback" not in report


def test_help_and_recipes_are_shown(empty, tmp_path):
    assert "chartscan demo OUT" in run(empty / "chartscan", "--help", cwd=tmp_path)
    assert "ehrmamba-small" in run(empty / "chartscan", "recipes", cwd=tmp_path)
    assert "learning_rate" in run(empty / "chartscan", "recipes", "ehrmamba-small", cwd=tmp_path)
    assert "xgboost" in run(empty / "python", "-m", "chartscan", "recipes", cwd=tmp_path)


def test_bench_is_refused_with_how_to_get_it_and_works_once_the_lab_is_there(empty, wheels, tmp_path):
    refused = subprocess.run(
        [empty / "chartscan", "bench", "scan"], cwd=tmp_path, capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "pip install chartscan-lab" in refused.stderr
    install(empty, "--no-deps", wheels["chartscan_lab"])
    assert "scan" in run(empty / "chartscan", "bench", "--help", cwd=tmp_path)
    assert "table1" in run(empty / "chartscan", "study", "--help", cwd=tmp_path)
