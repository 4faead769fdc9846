"""XGBoost's JSON, checked and written anew before the native reader sees it.

XGBoost believes its files: an index out of range, a cycle or an array cut short makes it read memory that is
not its own. So only what is listed here reaches it, and only if it is one model of ours: boosted trees for
two classes, without categories. The worst that a changed file can then do is to answer wrongly.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from chartscan import files
from chartscan.errors import DataError
from chartscan.tabular import Matrix, check_config, check_training, check_width

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
    """Return the model in `path` as safe JSON; DataError for other files."""
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


# A strong baseline: small steps, many trees, early stopping on tuning. Classes are not reweighted, so that
# probabilities stay calibrated (the published baseline reweights and does not stop). XGBoost takes entries
# that a sparse matrix does not store as missing; counts store no zeros, so "missing" means "none".


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the trees; defaults do well from some hundred to some ten thousand rows."""

    max_trees: int = 3000  # with a tuning split, stopped early
    trees: int = 200  # without one, or without patience
    patience: int | None = 50  # trees without a better tuning log loss; None: never stop early
    learning_rate: float = 0.05
    max_depth: int = 6  # 0: no limit, where max_leaves is one
    max_leaves: int = 0  # above 0: trees grow where they gain most, up to this many leaves; 0: level by level
    min_child_weight: float = 2.0
    subsample: float = 0.8
    column_sample: float = 0.5  # of the columns, per tree
    column_sample_by_node: float = 1.0  # of a tree's columns, at each split
    min_gain: float = 0.0  # of a split
    l1: float = 0.0
    l2: float = 1.0
    max_bins: int = 256  # of each column

    def __post_init__(self) -> None:
        check_config(
            max_trees=self.max_trees >= 1,
            trees=self.trees >= 1,
            patience=self.patience is None or self.patience >= 1,
            learning_rate=self.learning_rate > 0,
            max_depth=self.max_depth >= (0 if self.max_leaves else 1),
            max_leaves=self.max_leaves == 0 or self.max_leaves >= 2,
            min_child_weight=self.min_child_weight >= 0,
            subsample=0 < self.subsample <= 1,
            column_sample=0 < self.column_sample <= 1,
            column_sample_by_node=0 < self.column_sample_by_node <= 1,
            min_gain=self.min_gain >= 0,
            l1=self.l1 >= 0,
            l2=self.l2 >= 0,
            max_bins=self.max_bins >= 2,
        )


DEFAULT = Config()


@dataclass(frozen=True)
class Model:
    """A fitted ensemble."""

    booster: xgb.Booster

    @property
    def trees(self) -> int:
        """Trees in use: up to the best one of the tuning split."""
        return self.booster.num_boosted_rounds()

    def predict_proba(self, matrix: Matrix) -> NDArray[np.float64]:
        """Probability of the positive class, (rows,). DataError if the columns are not those fitted on."""
        check_width(matrix, self.booster.num_features())
        if not matrix.shape[0]:
            return np.empty(0)
        return self.booster.predict(_matrix(matrix)).astype(np.float64)

    def save(self, path: Path) -> None:
        """Write the model as XGBoost's own JSON."""
        files.write_bytes(path, bytes(self.booster.save_raw("json")))


def fit(
    matrix: Matrix,
    y: NDArray[np.bool_],
    *,
    tuning: tuple[Matrix, NDArray[np.bool_]] | None = None,
    config: Config = DEFAULT,
    seed: int = 0,
    threads: int = 1,
) -> Model:
    """Fit trees on `matrix`, with the count that minimises `tuning`'s log loss.

    Same data, settings and seed give the same model for every number of threads on one machine kind.
    DataError if `y` has one class.
    """
    check_training(matrix, y)
    train = _matrix(matrix, y, threads)
    parameters = _parameters(config, seed, threads)
    if tuning is None or not tuning[0].shape[0] or config.patience is None:
        return Model(xgb.train(parameters, train, num_boost_round=config.trees))
    booster = xgb.train(
        parameters,
        train,
        num_boost_round=config.max_trees,
        evals=[(_matrix(*tuning, threads), "tuning")],
        early_stopping_rounds=config.patience,
        verbose_eval=False,
    )
    return Model(booster[: booster.best_iteration + 1])


def load(path: Path) -> Model:
    """The model that `Model.save` wrote. DataError if the file is none."""
    booster = xgb.Booster()
    try:
        booster.load_model(bytearray(checked_trees(path)))
    except (OSError, ValueError, xgb.core.XGBoostError) as err:
        raise DataError(f"{path}: not a saved XGBoost model. Train it again.") from err
    return Model(booster)


def _parameters(config: Config, seed: int, threads: int) -> dict[str, object]:
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "learning_rate": config.learning_rate,
        "max_depth": config.max_depth,
        "grow_policy": "lossguide" if config.max_leaves else "depthwise",
        "max_leaves": config.max_leaves,
        "min_child_weight": config.min_child_weight,
        "subsample": config.subsample,
        "colsample_bytree": config.column_sample,
        "colsample_bynode": config.column_sample_by_node,
        "gamma": config.min_gain,
        "reg_alpha": config.l1,
        "reg_lambda": config.l2,
        "max_bin": config.max_bins,
        "seed": seed,
        "nthread": threads,
    }


def _matrix(matrix: Matrix, y: NDArray[np.bool_] | None = None, threads: int = 1) -> xgb.DMatrix:
    label = None if y is None else np.asarray(y, np.float32)
    data = matrix if isinstance(matrix, np.ndarray) else csr_matrix(matrix)
    return xgb.DMatrix(data, label=label, nthread=threads)
