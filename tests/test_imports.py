"""Who may import whom: the architecture as a test. Lazy, relative and dynamic imports are arrows too."""

import ast
from pathlib import Path

import pytest

import chartscan

SOURCE = Path(chartscan.__file__).parent
LAB = SOURCE.parent.parent / "lab" / "src" / "chartscan_lab"

# room -> the rooms it may import beside `errors`, `find` and itself
ALLOWED = {
    "errors": set(),
    "schema": set(),
    "vocabulary": set(),
    "site": {"vocabulary"},
    "site_key": {"files"},
    "metrics": set(),
    "find": set(),
    "files": set(),
    "parquet_files": {"files"},
    "task_files": {"notes", "schema"},
    "machine": set(),
    "lock": {"files"},
    "console": {"notes"},
    "notes": set(),
    "settings": set(),
    "batch": set(),
    "kernels": set(),
    "tabular": {"files"},
    "sources": {"notes", "schema", "store", "vocabulary", "site"},
    "simulator": {"schema", "files"},
    "store": {"notes", "schema", "files", "lock", "site_key"},
    "cohort": {"schema", "vocabulary"},
    "tasks": {"schema", "cohort", "vocabulary"},
    "inputs": set(),
    "inputs.tokens": {"schema", "files"},
    "inputs.hourly": {"schema", "files"},
    "inputs.counts": {"schema"},
    "inputs.batches": {"batch", "inputs.tokens", "inputs.hourly"},
    "inputs.readers": {"batch", "inputs.tokens", "inputs.hourly", "inputs.counts", "inputs.batches"},
    "layers": {"batch", "kernels"},
    "models": {"batch", "layers"},
    "objectives": {"batch", "layers", "kernels"},
    "training": {"notes", "batch", "files", "lock", "kernels"},
    "artifact": {"batch", "inputs.tokens", "inputs.readers", "files", "models", "objectives", "tabular"},
    "prediction": {"notes", "schema", "artifact", "inputs.tokens", "inputs.readers"},
    "runs": {
        "files",
        "notes",
        "schema",
        "store",
        "site_key",
        "lock",
        "cohort",
        "artifact",
        "training",
    },
    "labels": {
        *("notes", "schema", "settings", "site", "task_files", "parquet_files"),
        *("store", "cohort", "tasks", "artifact", "runs"),
    },
    "generate": {
        *("notes", "schema", "machine", "batch", "store", "cohort"),
        *("inputs.tokens", "inputs.batches", "inputs.readers", "artifact", "prediction", "runs"),
    },
    "evaluation": {
        *("notes", "schema", "metrics", "files", "parquet_files", "task_files"),
        *("store", "site_key", "simulator"),
    },
    "interpret": {
        *("batch", "schema", "layers", "kernels", "console", "metrics", "store", "cohort", "simulator"),
        *("inputs.tokens", "inputs.hourly", "inputs.batches", "inputs.readers"),
        *("artifact", "generate", "runs"),
    },
    "learn": {
        *("notes", "schema", "files", "machine", "batch", "kernels", "metrics"),
        *("models", "objectives", "tabular", "training", "artifact", "prediction", "runs"),
        *("inputs.tokens", "inputs.readers"),
    },
    "recipes": {
        *("models", "tabular", "training", "inputs.tokens", "inputs.hourly", "layers", "objectives"),
        "learn",
    },
}
ANYTHING = {"api", "commands", "cli", "__init__", "__main__"}
NO_TORCH = {
    "schema",
    "errors",
    "parquet_files",
    "task_files",
    "notes",
    "vocabulary",
    "site",
    "sources",
    "simulator",
    "store",
    "cohort",
    "tasks",
    "inputs.counts",
    "inputs.tokens",
    "inputs.hourly",
    "metrics",
    "evaluation",
}
FINDERS = {"find", "names", "described"}  # of find.py: their first argument names a package


def imported(source: str, package: str) -> set[str]:
    """Full dotted names that a module of `package` imports, wherever in the file, by name at run time too."""
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
        elif isinstance(node, ast.Call) and (found := _found_at_run_time(node)):
            names.add(found)
    return names


def _found_at_run_time(call: ast.Call) -> str:
    """The package in a call such as find("tasks", name) or importlib.import_module("chartscan.tasks.x")."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    first = call.args[0] if call.args else None
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return ""
    if name in FINDERS and isinstance(call.func, ast.Name):
        return first.value + ".*" if first.value.startswith("chartscan_") else f"chartscan.{first.value}.*"
    return first.value if name in ("import_module", "__import__") else ""


def room_of(name: str) -> str:
    """The room of a dotted name below chartscan, such as inputs.tokens; "" for the package itself."""
    parts = name.split(".")[1:]
    inner = ".".join(parts[:2])
    return inner if inner in ALLOWED else ".".join(parts[:1])


def violations(room: str, source: str, package: str) -> list[str]:
    """What a module of `room` imports and must not."""
    names = imported(source, package)
    ours = {room_of(n) for n in names if n.startswith("chartscan.")} - {"__version__", "__file__"}
    bad = [] if room in ANYTHING else sorted(ours - ALLOWED[room] - {"errors", "find", room})
    if room in NO_TORCH and any(n.split(".")[0] == "torch" for n in names):
        bad.append("torch")
    if any(n.split(".")[0] == "chartscan_lab" for n in names):
        bad.append("chartscan_lab")
    return bad


def modules() -> list[tuple[str, Path, str]]:
    """(room, file, dotted package) of every module."""
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        relative = file.relative_to(SOURCE)
        package = ".".join(["chartscan", *relative.parts[:-1]])
        name = package if file.stem == "__init__" and relative.parts[:-1] else f"{package}.{file.stem}"
        found.append((room_of(name), file, package))
    return found


def arrows(files: list[tuple[str, str, str]]) -> dict[str, set[str]]:
    """Module -> modules it imports, of (name, package, source). A package found by name is all of it."""
    known = {name for name, _, _ in files}
    graph = {}
    for name, package, source in files:
        to: set[str] = set()
        for wanted in imported(source, package):
            if wanted.endswith(".*"):
                to |= {one for one in known if one.startswith(wanted[:-1])}
            else:
                to |= {wanted if wanted in known else wanted.rpartition(".")[0]} & known
        graph[name] = to - {name}
    return graph


def cycle_in(graph: dict[str, set[str]]) -> set[str]:
    """Modules that stand in or between cycles, empty where there is none."""
    while graph:
        leaves = {name for name, to in graph.items() if not to & graph.keys()}
        roots = graph.keys() - {other for to in graph.values() for other in to}
        if not leaves | roots:
            break
        graph = {name: to for name, to in graph.items() if name not in leaves | roots}
    return set(graph)


def named_modules() -> list[tuple[str, str, str]]:
    """(dotted name, dotted package, source) of every module of both packages."""
    found = []
    for base in (SOURCE, LAB):
        for file in base.rglob("*.py"):
            package = ".".join([base.name, *file.relative_to(base).parts[:-1]])
            name = package if file.stem == "__init__" else f"{package}.{file.stem}"
            found.append((name, package, file.read_text()))
    return found


def test_every_room_imports_only_what_it_may():
    assert len(modules()) > 5
    wrong = {str(f): v for room, f, package in modules() if (v := violations(room, f.read_text(), package))}
    assert not wrong


def test_every_room_has_a_rule_and_every_rule_a_room():
    assert {room for room, _, _ in modules()} - ANYTHING == set(ALLOWED)


def test_a_planted_violation_is_found():
    planted = "from chartscan.tasks import readmission_30d"
    assert violations("models", planted, "chartscan.models") == ["tasks"]
    assert violations("models", "def f():\n    from ..store import dataset", "chartscan.models") == ["store"]
    assert violations("models", "find('tasks', name)", "chartscan.models") == ["tasks"]
    assert violations("models", "importlib.import_module('chartscan.store.x')", "chartscan.models") == [
        "store"
    ]
    assert violations("store", "import torch.nn", "chartscan.store") == ["torch"]
    assert violations("models", "from ..batch import Batch\nimport torch", "chartscan.models") == []
    assert violations("inputs.tokens", "from ..hourly import x", "chartscan.inputs.tokens") == [
        "inputs.hourly"
    ]
    assert violations("cli", "import chartscan_lab.cli", "chartscan.cli") == ["chartscan_lab"]


def test_rooms_form_no_cycle():
    assert not cycle_in({room: set(to) for room, to in ALLOWED.items()})


def test_modules_form_no_cycle():
    assert not cycle_in(arrows(named_modules()))


@pytest.mark.parametrize(
    "other", ["from chartscan.a import x", "import chartscan.a", "find('a', name)", "from .a import x"]
)
def test_a_planted_cycle_is_found(other):
    files = [
        ("chartscan.a", "chartscan", "def f():\n    from chartscan.b import y"),
        ("chartscan.a.c", "chartscan.a", "from chartscan.b import y"),
        ("chartscan.b", "chartscan", other),
        ("chartscan.d", "chartscan", "import chartscan.b"),
    ]
    assert cycle_in(arrows(files)) >= {"chartscan.b"}
    assert not cycle_in(arrows([*files[:2], ("chartscan.b", "chartscan", ""), files[3]]))


def test_public_names_are_exactly_those_in_all():
    rooms = {room.partition(".")[0] for room, _, _ in modules()}
    public = {name for name in vars(chartscan) if not name.startswith("_")}
    assert public - rooms == {name for name in chartscan.__all__ if name != "__version__"}
    assert not set(chartscan.__all__) & rooms  # importing such a module would replace the function
