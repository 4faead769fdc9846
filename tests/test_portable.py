"""Nothing that only POSIX has is needed: to import any module, or from the export to a trained model."""

import os
import subprocess
import sys

# Other packages ask the system themselves what it has; what is ours must do without, as on Windows.
BARE = """
import builtins, os, signal, sys
import filelock, numpy, polars, pyarrow.parquet, sklearn.linear_model, torch, typer, xgboost

ONLY_POSIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
real = builtins.__import__

def bare(name, globals=None, *rest, **named):
    if (globals or {}).get("__name__", "").startswith("chartscan") and name.partition(".")[0] in ONLY_POSIX:
        raise ImportError(f"there is no {name} on Windows")
    return real(name, globals, *rest, **named)

builtins.__import__ = bare
for name in (
    "O_NOFOLLOW O_NONBLOCK O_DIRECTORY O_CLOEXEC geteuid getuid pread pwrite fchmod mkfifo getloadavg "
    "sched_getaffinity uname sysconf killpg setsid getpgid statvfs"
).split():
    delattr(os, name)
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "SIGALRM"):
    delattr(signal, name)
"""

IMPORT_ALL = """
import importlib, pkgutil
import chartscan, chartscan_lab

skip = ("chartscan.kernels.gpu.", "chartscan.__main__")
for package in (chartscan, chartscan_lab):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith(skip) and not module.name.endswith("._native"):
            importlib.import_module(module.name)
            print(module.name)
"""

MAIN_JOB = """
import chartscan

chartscan.simulate("export", subjects=60)
chartscan.ingest("fhir", "export", "dataset")
chartscan.ingest("fhir", "export", "dataset", overwrite=True)
chartscan.label("all", "dataset", "labels")
quick = {"pretrain.max_steps": 2, "finetune.max_steps": 2, "reader.min_subjects": 2}
chartscan.train("ehrmamba-tiny", "dataset", "network", labels="labels", settings=quick)
chartscan.train("logistic", "dataset", "run", labels="labels")
chartscan.predict("run", "dataset", "labels", "predictions")
print(chartscan.evaluate("predictions", "report", bootstrap=20))
"""


def run_bare(code, cwd):
    """What the code prints in a process without what only POSIX has."""
    named = os.environ | {"USERNAME": "somebody"}  # torch asks for it, and then the system
    command = [sys.executable, "-W", "ignore", "-c", BARE + code]
    done = subprocess.run(command, cwd=cwd, env=named, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_imported_without_what_only_posix_has(tmp_path):
    assert len(run_bare(IMPORT_ALL, tmp_path).splitlines()) > 300


def test_the_main_job_runs_without_what_only_posix_has(tmp_path):
    assert "long_stay_7d" in run_bare(MAIN_JOB, tmp_path)
