"""XGBoost's JSON, checked and written anew before the native reader sees it.

XGBoost believes its files: an index out of range, a cycle or an array cut short makes it read memory that is
not its own. So only what is listed here reaches it, and only if it is one model of ours: boosted trees for
two classes, without categories. The worst that a changed file can then do is to answer wrongly.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from chartscan import files
from chartscan.errors import DataError

MOST_FEATURES = 10_000_000
_ROOT = 2_147_483_647  # how XGBoost writes that a node has no parent
_LEAF = -1
_GREATEST = float(np.finfo(np.float32).max)
_NUMBERS = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")
_PLACES = ("left_children", "right_children", "parents", "split_indices")


class Tree(msgspec.Struct, frozen=True):
    """One tree as arrays with an entry a node."""

    base_weights: tuple[float, ...]
    default_left: tuple[Literal[0, 1], ...]
    left_children: tuple[int, ...]
    loss_changes: tuple[float, ...]
    parents: tuple[int, ...]
    right_children: tuple[int, ...]
    split_conditions: tuple[float, ...]
    split_indices: tuple[int, ...]
    split_type: tuple[Literal[0], ...]  # numbers; 1 would be categories
    sum_hessian: tuple[float, ...]
    tree_param: dict[str, str]


class _TreesAndInfo(msgspec.Struct, frozen=True):
    trees: tuple[Tree, ...]
    tree_info: tuple[Literal[0], ...]  # the class of each tree


class _Booster(msgspec.Struct, frozen=True):
    model: _TreesAndInfo
    name: Literal["gbtree"]


class _Parameters(msgspec.Struct, frozen=True):
    base_score: str  # the mean answer: "5E-1", or "[5E-1]" since 3.1
    num_feature: str
    num_class: Literal["0"] = "0"
    num_target: Literal["1"] = "1"
    boost_from_average: Literal["0", "1"] = "1"


class _Objective(msgspec.Struct, frozen=True):
    name: Literal["binary:logistic"]


class _Learner(msgspec.Struct, frozen=True):
    gradient_booster: _Booster
    learner_model_param: _Parameters
    objective: _Objective


class _File(msgspec.Struct, frozen=True):
    learner: _Learner
    version: tuple[int, int, int]


def checked_trees(path: Path) -> bytes:
    """The model in `path` as JSON that XGBoost can read safely; DataError if it is not one of ours."""
    content = files.read_json(path, _File, "a saved XGBoost model")
    learner = content.learner
    features = _whole(learner.learner_model_param.num_feature)
    model = learner.gradient_booster.model
    sound = (
        1 <= features <= MOST_FEATURES
        and len(model.trees) == len(model.tree_info)
        and all(0 <= part < 1000 for part in content.version)
        and _is_probability(learner.learner_model_param.base_score)
    )
    if not sound:
        raise DataError(f"{path}: not a saved XGBoost model of ours. Train it again.")
    for place, tree in enumerate(model.trees):
        if not _is_tree(tree, features):
            raise DataError(f"{path}: tree {place} is not one. Train it again, or restore it from a copy.")
    return msgspec.json.encode(_written(content, features))


def _is_tree(tree: Tree, features: int) -> bool:
    """Whether arrays agree, numbers fit, and nodes from 0 on form one tree; others must count as deleted."""
    n = len(tree.left_children)
    lengths = {len(getattr(tree, name)) for name in (*_NUMBERS, *_PLACES, "default_left", "split_type")}
    parameters = tree.tree_param
    named = ("num_nodes", "num_feature", "num_deleted")
    nodes, width, deleted = (_whole(parameters.get(name, "")) for name in named)
    if (
        lengths != {n}
        or nodes != n
        or width != features
        or parameters.get("size_leaf_vector") not in ("0", "1")
    ):
        return False
    if any(max(map(abs, getattr(tree, name)), default=0.0) > _GREATEST for name in _NUMBERS):
        return False
    reached = _reached(tree, features)
    return reached is not None and deleted == n - reached


def _reached(tree: Tree, features: int) -> int | None:
    """Nodes of the tree that begins at node 0; None where it is none: a cycle, a stranger, half a split."""
    n = len(tree.left_children)
    if not n or tree.parents[0] != _ROOT:
        return None
    seen, ahead = {0}, [0]
    while ahead:
        node = ahead.pop()
        children = (tree.left_children[node], tree.right_children[node])
        if children == (_LEAF, _LEAF):
            continue
        for child in children:
            if not 0 < child < n or child in seen or tree.parents[child] != node:
                return None
            seen.add(child)
            ahead.append(child)
        if not 0 <= tree.split_indices[node] < features:
            return None
    return len(seen)


def _written(content: _File, features: int) -> dict[str, Any]:
    """What XGBoost is given: the fields above and constants, nothing else of the file."""
    learner = content.learner
    model = learner.gradient_booster.model
    n = len(model.trees)
    trees = [_kept(tree, place, features) for place, tree in enumerate(model.trees)]
    return {
        "learner": {
            "attributes": {},
            "feature_names": [],
            "feature_types": [],
            "gradient_booster": {
                "model": {
                    "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(n)},
                    "iteration_indptr": list(range(n + 1)),
                    "tree_info": list(model.tree_info),
                    "trees": trees,
                },
                "name": "gbtree",
            },
            "learner_model_param": msgspec.to_builtins(learner.learner_model_param),
            "objective": {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}},
        },
        "version": list(content.version),
    }


def _kept(tree: Tree, place: int, features: int) -> dict[str, Any]:
    empty = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
    arrays = {name: value for name, value in msgspec.structs.asdict(tree).items() if name != "tree_param"}
    parameters = {
        "num_deleted": tree.tree_param["num_deleted"],
        "num_feature": str(features),
        "num_nodes": str(len(tree.left_children)),
        "size_leaf_vector": tree.tree_param["size_leaf_vector"],
    }
    return arrays | {name: [] for name in empty} | {"id": place, "tree_param": parameters}


def _whole(text: str) -> int:
    """A number that XGBoost wrote as text; -1 where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1


def _is_probability(text: str) -> bool:
    try:
        return 0 < float(text.removeprefix("[").removesuffix("]")) < 1
    except ValueError:
        return False
