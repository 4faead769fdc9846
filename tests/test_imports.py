"""Who may import whom: the architecture as a test, relative and lazy imports included."""

import ast
from pathlib import Path

import pytest

import chartscan

SOURCE = Path(chartscan.__file__).parent

# part -> the parts of ours it may import beside `errors` and itself
ALLOWED = {
    "errors": set(),
    "schema": set(),
    "vocabulary": set(),
    "site": {"vocabulary"},
    "site_key": set(),
    "metrics": set(),
    "find": set(),
    "files": set(),
    "parquet_files": {"files"},
    "task_files": set(),
    "meds_columns": {"notes", "schema"},
    "heap": set(),
    "lock": set(),
    "console": {"notes"},
    "notes": set(),
    "settings": set(),
    "batch": set(),
    "kernels": set(),
    "tabular": {"files"},
    "sources": {"notes", "schema", "store", "vocabulary", "site"},
    "simulate": {"schema", "files"},
    "store": {"notes", "schema", "files", "lock", "site_key"},
    "sequences": {"schema", "files"},
    "series": {"schema", "files"},
    "features": {"schema"},
    "cohort": {"notes", "schema", "parquet_files", "task_files", "meds_columns", "vocabulary", "site"},
    "tasks": {"schema", "cohort", "vocabulary"},
    "layers": {"batch", "kernels"},
    "batches": {"batch", "sequences", "series"},
    "models": {"batch", "layers"},
    "objectives": {"batch", "layers", "kernels"},
    "training": {"notes", "batch", "files", "lock", "kernels"},
    "artifact": {"find", "batch", "sequences", "series", "files"},
    "predict": {"notes", "schema", "artifact", "sequences", "series", "batches", "features"},
    "generate": {"artifact", "batch", "batches", "sequences"},
    "evaluation": {"notes", "schema", "metrics", "files", "parquet_files", "task_files", "meds_columns"},
    "interpret": {"batch", "schema", "layers", "kernels"},
}
ANYTHING = {"recipes", "cli", "__init__"}
# folder of recipes -> the others it may import beside `_names` and itself: no recipe and no command
SHARED = {
    "runs": set(),
    "reporting": set(),
    "questions": {"runs"},
    "fitting": {"runs"},
    "futures": {"runs"},
    "explaining": {"runs"},
    "baselines": {"runs", "fitting"},
    "ensembles": {"runs", "fitting"},
    "neural": {"runs", "fitting", "baselines", "ensembles"},
}
COMMANDS = {"study", "bench"}  # folders of recipes that see all of them
NO_TORCH = {
    "schema",
    "errors",
    "parquet_files",
    "task_files",
    "meds_columns",
    "notes",
    "vocabulary",
    "site",
    "sources",
    "simulate",
    "store",
    "cohort",
    "tasks",
    "features",
    "metrics",
    "evaluation",
    "sequences",
    "series",
}


def imported(source: str, package: str) -> set[str]:
    """Full dotted names that a module of `package` imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).rstrip(".")
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def parts_of(names: set[str]) -> set[str]:
    """Top-level parts of chartscan among `names`."""
    return {n.split(".")[1] for n in names if n.startswith("chartscan.") and n.count(".")} - {"__version__"}


def violations(part: str, source: str, package: str) -> list[str]:
    """What a module of `part` imports and must not."""
    names = imported(source, package)
    bad = [] if part in ANYTHING else sorted(parts_of(names) - ALLOWED[part] - {"errors", part})
    if part in NO_TORCH and any(n.split(".")[0] == "torch" for n in names):
        bad.append("torch")
    return bad


def shared_violations(folder: str, source: str) -> list[str]:
    """What a module of a folder of recipes imports from others and must not."""
    ours = [n.split(".") for n in imported(source, f"chartscan.recipes.{folder}")]
    used = {parts[2] for parts in ours if parts[:2] == ["chartscan", "recipes"]}
    return sorted(used - SHARED[folder] - {folder, "_names"})


def modules() -> list[tuple[str, Path, str]]:
    """(part, file, dotted package) of every module."""
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        relative = file.relative_to(SOURCE)
        package = ".".join(["chartscan", *relative.parts[:-1]])
        found.append((relative.parts[0].removesuffix(".py"), file, package))
    return found


def test_every_part_imports_only_what_it_may():
    assert len(modules()) > 5
    wrong = {str(f): v for part, f, package in modules() if (v := violations(part, f.read_text(), package))}
    assert not wrong


def test_what_recipes_share_imports_no_recipe_or_command_and_of_its_own_what_it_may():
    folders = {file.parent.name for file in (SOURCE / "recipes").glob("*/*.py")} - COMMANDS
    assert folders == set(SHARED)
    files = [(folder, file) for folder in SHARED for file in (SOURCE / "recipes" / folder).glob("*.py")]
    assert not {str(file): v for folder, file in files if (v := shared_violations(folder, file.read_text()))}


def test_a_planted_violation_is_found():
    assert violations("models", "from chartscan.tasks import readmission_30d", "chartscan.models") == [
        "tasks"
    ]
    assert violations("models", "def f():\n    from ..store import dataset", "chartscan.models") == ["store"]
    assert violations("store", "import torch.nn", "chartscan.store") == ["torch"]
    assert violations("models", "from ..batch import Batch\nimport torch", "chartscan.models") == []
    assert shared_violations("runs", "from chartscan.recipes import train") == ["train"]
    assert shared_violations("fitting", "from ..neural import start") == ["neural"]
    assert shared_violations("neural", "from chartscan.recipes.runs.job import Job") == []


@pytest.mark.parametrize("table", [ALLOWED, SHARED], ids=["parts", "folders of recipes"])
def test_they_form_no_cycle(table):
    graph = {part: set(needs) for part, needs in table.items()}
    while leaves := {part for part, needs in graph.items() if not needs}:
        graph = {part: needs - leaves for part, needs in graph.items() if part not in leaves}
    assert not graph


def test_public_names_are_exactly_those_in_all():
    public = {n for n in vars(chartscan) if not n.startswith("_")} - {p for p, _, _ in modules()}
    assert public <= set(chartscan.__all__)
    assert all(hasattr(chartscan, name) for name in chartscan.__all__)
