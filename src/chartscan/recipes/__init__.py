"""The catalogue of recipes: settings of trainings under the names that users write.

`ABOUT` says in a line what each recipe is for, and is read without importing any model. The settings stand in
the modules beside this one. A model from outside the package is a recipe of its name: its RECIPE, or the
settings of the recipe that reads as it does. Knows no command.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from chartscan.errors import ConfigError, nearest
from chartscan.find import find, name_of, outside_names, register

_TOKENS = {
    "bigbird": "BigBird at the paper's size: 6 layers of width 768, rows of 2048 tokens, a model "
    "a task. Wants a GPU.",
    "bigbird-tiny": "BigBird for a demonstration or a test: 2 layers of width 64, blocks of 32 "
    "tokens, a model a task.",
    "bilstm": "BiLSTM at the paper's size: 6 layers, 384 units each way, no pretraining, a "
    "model a task. Wants a GPU.",
    "bilstm-tiny": "BiLSTM for a demonstration or a test: 1 layer of 32 units each way, a model a task.",
    "cehr-bert": "CEHR-BERT at the paper's size: 6 layers of width 768, rows of 512 tokens, a "
    "model a task. Wants a GPU.",
    "cehr-bert-tiny": "CEHR-BERT for a demonstration or a test: 2 layers of width 64, a model a task, "
    "minutes on a laptop.",
    "ehrmamba": "EHRMamba at the paper's size: 32 blocks of width 768, about 120 million "
    "parameters. Wants a GPU.",
    "ehrmamba-seeds": "EHRMamba three times, from three seeds; its answer is the mean of their log odds.",
    "ehrmamba-small": "EHRMamba for a CPU: 2 blocks of width 128, about 400,000 parameters.",
    "ehrmamba-tiny": "EHRMamba for a demonstration or a test: 2 blocks of width 64, minutes on a laptop.",
    "ehrmamba2": "EHRMamba-2 at the released size: 32 blocks of width 768, 24 heads. Wants a GPU.",
    "ehrmamba2-tiny": "EHRMamba-2 for a demonstration or a test: as `ehrmamba-tiny`, on Mamba-2 blocks "
    "of 4 heads.",
    "logistic": "Logistic regression on token counts and ages.",
    "multibird": "MultiBird at the paper's size: BigBird, fine-tuned by prompts for all tasks at "
    "once. Wants a GPU.",
    "multibird-tiny": "MultiBird for a demonstration or a test: `bigbird-tiny`, fine-tuned by prompts "
    "for all tasks at once.",
    "xgboost": "Gradient-boosted trees on token counts and ages: the baseline every sequence "
    "model has to beat.",
}
_HOURLY = {
    "gru": "A gated recurrent unit on the hourly carried state: the plain network every "
    "other series model has to beat.",
    "hymate": "HyMaTE over the carried state of every variable: causal, and trained on the labels alone.",
    "hymate-blend": "HyMaTE over the carried state blended with boosted trees, cross-fitted on train "
    "and tuning subjects.",
    "hymate-distilled": "HyMaTE over the carried state, trained on labels and boosted trees: not "
    "independent of the trees.",
    "hymate-folds": "HyMaTE over the carried state, ten times, each trained on nine tenths of the "
    "train and tuning subjects.",
    "hymate-paper": "HyMaTE as its paper describes it: raw triplets, pretraining by masked "
    "forecasting, then fine-tuning.",
    "logistic-summary": "Logistic regression on summary features of time series.",
    "xgboost-folds": "Boosted trees on summary features, ten times, each trained on nine tenths of "
    "train and tuning subjects.",
    "xgboost-summary": "Gradient-boosted trees on summary features of time series: the baseline every "
    "series model has to beat.",
}
ABOUT = _TOKENS | _HOURLY


_LIKE = {"tokens": "ehrmamba-tiny", "triplets": "gru", "carried": "gru"}  # by what a model reads
_PAGE = "docs/extend-model.md"


def recipe_names() -> list[str]:
    """Return the names of all recipes, sorted, with dashes, outside models included."""
    return sorted({*ABOUT, *outside_recipes()})


def outside_recipes() -> dict[str, str]:
    """Return a line about each recipe of an outside model; imports no model."""
    names = [*outside_names("models"), *outside_names("tabular")]
    return {name.replace("_", "-"): "A model that is no part of chartscan." for name in sorted(names)}


def find_recipe(name: str) -> Any:
    """The recipe `name` (underscores count as dashes); ConfigError with the nearest if there is none."""
    wanted = name.replace("_", "-")
    if wanted in ABOUT:
        if wanted in _TOKENS:
            from chartscan.recipes.tokens import RECIPES
        else:
            from chartscan.recipes.hourly import RECIPES
        return RECIPES[wanted]
    plain = wanted.replace("-", "_")
    for package in ("models", "tabular"):
        if plain in outside_names(package):
            return _outside_recipe(package, plain)
    own = "A model of your own is named by its .py file."
    raise ConfigError(f"No recipe named '{wanted}'. {own}{nearest(wanted, recipe_names())}")


def know(models: Sequence[Path] = (), objectives: Sequence[Path] = ()) -> list[str]:
    """Register the user's model and objective files; return the models' recipe names.

    They are known for this process. ConfigError for a file that is none, two files of one name, or the name
    of a recipe of ours.
    """
    for path in objectives:
        register(path, "objectives")
    found: dict[str, Path] = {}
    for path in models:
        name = path.stem.replace("_", "-")
        if name in ABOUT:
            raise ConfigError(f"{path}: there is a recipe named '{name}' already. Rename the file.")
        if found.setdefault(name, path) != path:
            raise ConfigError(f"{path}: {found[name]} is a model of the same name. Rename one of them.")
        register(path, "models", "tabular")
    return list(found)


def known_recipe(given: str) -> str:
    """Return a recipe's name; a path registers the model in that file."""
    return know([Path(given)])[0] if given.endswith(".py") else given


def with_objective(recipe: Any, name: str, file: Path) -> Any:
    """Return the recipe with an objective's head; ConfigError where its model has none."""
    if not hasattr(recipe, "head"):
        why = "has a head for each of its members" if hasattr(recipe, "members") else "is no network"
        raise ConfigError(f"--objective {file}: {name} {why}. Name a recipe of one network, or leave it out.")
    _, objective = register(file, "objectives")
    return msgspec.structs.replace(recipe, head=_settings(find("objectives", objective), str(file)))


def _outside_recipe(package: str, name: str) -> Any:
    """The RECIPE of a model from outside, or settings like those of ours that read the same."""
    module = find(package, name)
    place = module.__file__ or name
    if hasattr(module, "RECIPE"):
        return _own_recipe(package, name, module.RECIPE, place)
    model = _settings(module, place)
    if package == "tabular":
        return msgspec.structs.replace(find_recipe("logistic"), model=model)
    reads = module.Model.INPUT
    if reads not in _LIKE:
        raise ConfigError(f"{place}: Model.INPUT is '{reads}'. Expected {', '.join(_LIKE)}. See {_PAGE}.")
    if reads == "tokens" and not isinstance(getattr(module.Model, "CAUSAL", None), bool):
        raise ConfigError(
            f"{place}: a model of tokens needs Model.CAUSAL. Write: CAUSAL = True where no position sees a "
            f"later one, else False. See {_PAGE}."
        )
    like = find_recipe(_LIKE[reads])
    reader, context = like.reader, getattr(model, "context", None)
    if context is not None and context < reader.context:
        reader = msgspec.structs.replace(reader, context=context)
    return msgspec.structs.replace(
        like,
        model=model,
        reader=reader,
        head=_head(module.Model.HEAD, like.head, place),
        pretrain=like.pretrain if module.Model.PRETRAINING else None,
    )


def _own_recipe(package: str, name: str, recipe: Any, place: str) -> Any:
    """The RECIPE of a file; ConfigError where it is none, or is of another model."""
    model = getattr(recipe, "model", None)
    if hasattr(recipe, "train") and model is not None and name_of(package, model) == name:
        return recipe
    learner = "networks import NetworkRecipe" if package == "models" else "trees import TabularRecipe"
    raise ConfigError(
        f"{place}: RECIPE is not as needed. Write: from chartscan.learn.{learner}, and RECIPE = that, with "
        f"model=Config(...) of this file. See {_PAGE}."
    )


def _head(name: str, like: Any, place: str) -> Any:
    """The settings of the head that a model's HEAD names: those of `like`, if it is one, or the defaults."""
    if name_of("objectives", like) == name:
        return like
    try:
        objective = find("objectives", name)
    except ConfigError as err:
        raise ConfigError(f"{place}: Model.HEAD: {err}") from err
    if not hasattr(objective, "make"):
        raise ConfigError(
            f"{place}: Model.HEAD: '{name}' has no head for tasks. Write: HEAD = \"prompted\" for tokens, "
            f'"classification" for time series. See {_PAGE}.'
        )
    return _settings(objective, objective.__file__)


def _settings(module: Any, place: str) -> Any:
    """The settings of a module by default; ConfigError where Config has none for each."""
    try:
        return module.Config()
    except TypeError as err:
        raise ConfigError(f"{place}: Config needs a default for each setting ({err}).") from err
