"""Artifacts forged by someone who can seal them again: any field, any tensor, any tree, made nonsense.

`forge` copies an artifact, spoils one file of it and writes the hashes and the manifest anew, so that only
what is read can refuse it. Run as a script it is the reader: it gets a folder a line, loads it, lets it
answer, and says what came out, within MEMORY_BYTES beyond what it needs to start.
"""

import json
import os
import shutil
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chartscan import files

MEMORY_BYTES = 2 << 30
RAW = "\x00raw:"  # marks a text that is put into the JSON as it stands
DEEP = RAW + "[" * 100_000 + "]" * 100_000
NONSENSE: tuple[Any, ...] = (
    *(-1, -(2**31), 2**31, 2**63, 10**12, 10**30, 1e308, -1e308, 1e-320, 0.5, -7.25),
    *(None, True, "", "text", "1", "\x1b[31m\r\n", "../../x", "x" * 100_000, [], {}, [0], {"a": 1}),
    *([[1]], ["a"], RAW + "NaN", RAW + "Infinity", RAW + "1e999", RAW + "01", DEEP),
)
TREES = ("left_children", "right_children", "parents", "split_indices")


def forge(saved: Path, folder: Path, random: np.random.Generator) -> str:
    """Writes a forged copy of `saved` as `folder`; says what was done."""
    with files.sealed(folder) as staging:
        for path in saved.iterdir():
            if path.is_dir():
                shutil.copytree(path, staging / path.name)
            elif path.name != files.MANIFEST:
                shutil.copy(path, staging)
        member = pick(random, sorted(path.parent for path in staging.rglob("model.json")))
        path = pick(random, sorted(path for path in member.iterdir() if _is_forged(path)))
        done = (_forge_weights if path.suffix == ".safetensors" else _forge_json)(path, random)
        _hash_again(member)
        for inner in sorted((f for f in staging.rglob(files.MANIFEST)), key=lambda f: -len(f.parts)):
            _seal_again(inner.parent)
        return f"{path.relative_to(staging)}: {done}"


def _is_forged(path: Path) -> bool:
    return path.is_file() and path.name not in (files.MANIFEST, "run.json")


def pick(random: np.random.Generator, choices: Any) -> Any:
    """One of them."""
    return choices[int(random.integers(len(choices)))]


def _forge_json(path: Path, random: np.random.Generator) -> str:
    content = json.loads(path.read_bytes())
    trees = path.name.startswith("tabular-") and "learner" in content
    done = _forge_trees(content, random) if trees and random.random() < 0.6 else _forge_field(content, random)
    path.write_text(_text(content))
    return done


def _forge_field(content: Any, random: np.random.Generator) -> str:
    """One place in the JSON, found by going down at random, gets nonsense, goes away or comes twice."""
    where, parent, holder, key = "", content, content, None
    while isinstance(holder, dict | list) and len(holder) and (key is None or random.random() < 0.85):
        parent, key = holder, pick(random, sorted(holder) if isinstance(holder, dict) else range(len(holder)))
        where, holder = f"{where}.{key}", parent[key]
    if key is None:  # nothing in it yet
        content["a"] = pick(random, NONSENSE)
        return "something in what was empty"
    value = pick(random, NONSENSE)
    how = random.random()
    if how < 0.1:
        del parent[key]
        return f"{where} is gone"
    if how < 0.2 and isinstance(holder, list):
        parent[key] = (holder * 3)[: max(2 * len(holder), 1)] if random.random() < 0.5 else holder[1:]
        return f"{where} is longer or shorter"
    if isinstance(holder, str) and holder.isdigit() and random.random() < 0.8:  # XGBoost's numbers
        value = pick(random, ("-1", "0", str(2**31), str(2**62), "1e9", "nan", "7"))
    parent[key] = value
    return f"{where} = {str(value)[:40]!r}"


def _forge_trees(content: Any, random: np.random.Generator) -> str:
    """What crashes a native reader: cycles, indices out of range, arrays of other lengths, other models."""
    learner = content["learner"]
    model = learner["gradient_booster"]["model"]
    tree = pick(random, model["trees"])
    n = len(tree["left_children"])
    name = pick(random, TREES)
    ways: dict[str, Callable[[], None]] = {
        "index": lambda: tree[name].__setitem__(
            int(random.integers(n)), pick(random, (-2, n, n + 5, 10**6, 2**31 - 2, -(2**31), 0))
        ),
        "cycle": lambda: tree["left_children"].__setitem__(int(random.integers(n)), 0),
        "self": lambda: tree["right_children"].__setitem__(n - 1, n - 1),
        "short": lambda: tree.__setitem__(name, tree[name][: int(random.integers(n))]),
        "long": lambda: tree.__setitem__(name, tree[name] * 1000),
        "empty": lambda: tree.update({k: [] for k, v in tree.items() if isinstance(v, list)}),
        "nodes": lambda: tree["tree_param"].__setitem__("num_nodes", str(pick(random, (0, 1, n + 1, 2**31)))),
        "deleted": lambda: tree["tree_param"].__setitem__("num_deleted", str(pick(random, (1, n, 2**31)))),
        "features": lambda: (
            learner["learner_model_param"].__setitem__("num_feature", str(2**31)),
            tree["tree_param"].__setitem__("num_feature", str(2**31)),
        ),
        "leaf": lambda: tree["tree_param"].__setitem__("size_leaf_vector", str(2**30)),
        "classes": lambda: learner["learner_model_param"].__setitem__("num_class", str(2**30)),
        "info": lambda: model.__setitem__("tree_info", [2**30] * len(model["trees"])),
        "number": lambda: model["gbtree_model_param"].__setitem__("num_trees", str(2**30)),
        "categories": lambda: tree.update(
            split_type=[1] * n, categories=[2**31 - 1], categories_nodes=[0], categories_segments=[0]
        ),
        "objective": lambda: learner["objective"].__setitem__(
            "name", pick(random, ("rank:ndcg", "x", "multi:softprob"))
        ),
        "dart": lambda: learner["gradient_booster"].__setitem__("name", "dart"),
        "score": lambda: learner["learner_model_param"].__setitem__(
            "base_score", pick(random, ("nan", "inf", "2"))
        ),
    }
    way = pick(random, sorted(ways))
    ways[way]()
    return f"tree: {way} {name}"


def _forge_weights(path: Path, random: np.random.Generator) -> str:
    """The head of the file, or the numbers themselves."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    head, body = json.loads(content[8 : 8 + length]), bytearray(content[8 + length :])
    name = pick(random, sorted(set(head) - {"__metadata__"}))
    about = head[name]
    begin, end = about["data_offsets"]
    ways: dict[str, Callable[[], Any]] = {
        "shape": lambda: about.__setitem__(
            "shape", pick(random, ([2**40], [10**6, 10**6], [], [0], [-1], ["a"]))
        ),
        "type": lambda: about.__setitem__("dtype", pick(random, ("F64", "BOOL", "F8_E4M3", "X", 3))),
        "offsets": lambda: about.__setitem__(
            "data_offsets", pick(random, ([0, 2**63], [end, begin], [begin, end + 4], [-4, end], [0, 4]))
        ),
        "gone": lambda: head.pop(name),
        "more": lambda: head.__setitem__("model.more", about),
        "deep": lambda: head.__setitem__("__metadata__", DEEP),
        "nan": lambda: body.__setitem__(slice(begin, begin + 4), struct.pack("<f", float("nan"))),
        "infinite": lambda: body.__setitem__(slice(begin, begin + 4), struct.pack("<f", float("inf"))),
        "huge": lambda: body.__setitem__(slice(begin, end), struct.pack("<f", 3e38) * ((end - begin) // 4)),
    }
    way = pick(random, sorted(ways))
    ways[way]()
    text = _text(head).encode()
    claimed = (
        pick(random, (2**63, 2**40, 100_000_000, 0, len(text) + 4)) if random.random() < 0.1 else len(text)
    )
    path.write_bytes(struct.pack("<Q", claimed) + text + body)
    return f"weights: {way} {name}, head of {claimed} bytes"


def _text(content: Any) -> str:
    """JSON, with raw parts as they are."""
    parts = json.dumps(content).split('"\\u0000raw:')
    return parts[0] + "".join(raw.replace('"', "", 1) for raw in parts[1:])


def _hash_again(member: Path) -> None:
    """Writes the hashes of vocabulary and variables into model.json, as far as it can still be read."""
    from chartscan.inputs.hourly import Variables
    from chartscan.inputs.tokens import Vocabulary

    for field, type_ in (("vocabulary", Vocabulary), ("variables", Variables)):
        try:
            about = json.loads((member / "model.json").read_bytes())
            hash_ = msgspec.json.decode((member / f"{field}.json").read_bytes(), type=type_).hash
            if about[field] != hash_ and isinstance(about[field], str):
                (member / "model.json").write_text(json.dumps(about | {field: hash_}))
        except Exception:
            continue


def _seal_again(folder: Path) -> None:
    digests = {}
    for path in sorted(folder.iterdir()):
        name = f"{path.name}/{files.MANIFEST}" if path.is_dir() else path.name
        if path.name != files.MANIFEST:
            digests[name] = files.sha256(folder / name)
    files.write_json(folder / files.MANIFEST, {"sha256": digests})


def read_forged(sound: list[str]) -> None:
    """Reads folders from standard input and says of each what came of it, as one line of JSON.

    The `sound` ones (what they read, a space, the folder) are read first: what Python imports on the way is
    no part of any artifact.
    """
    import resource  # not on Windows

    for line in sound:
        print(json.dumps({"ready": _outcome(line)}), flush=True)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        print(json.dumps(_outcome(line)), flush=True)


def _outcome(line: str) -> dict[str, Any]:
    """What comes of loading a folder and asking it."""
    from chartscan.artifact import load
    from chartscan.errors import ChartscanError
    from chartscan.prediction import predict
    from family_artifacts import TASKS, labels, records, token_labels, token_records

    kind, folder = line.rstrip("\n").split(" ", 1)
    table, asked = (token_records(), token_labels()) if kind == "tokens" else (records(), labels())
    try:
        artifact = load(Path(folder))
        predict(artifact, lambda: [table], {task: asked for task in TASKS if task in artifact.tasks})
        return {"answered": True}
    except ChartscanError as err:
        return {"refused": str(err), "code": err.exit_code}
    except Exception:
        return {"unexpected": traceback.format_exc()[-1500:]}


if __name__ == "__main__":
    read_forged(sys.argv[1:])
