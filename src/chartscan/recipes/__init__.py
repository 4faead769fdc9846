"""The catalogue of recipes: settings of trainings under the names that users write.

`ABOUT` says in a line what each recipe is for, and is read without importing any model. The settings stand in
the modules beside this one. Knows no command.
"""

from typing import Any

from chartscan.errors import ConfigError
from chartscan.find import unknown

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
    "hymate": "HyMaTE over the carried state of every variable: causal, and taught by the labels alone.",
    "hymate-blend": "HyMaTE over the carried state blended with boosted trees, cross-fitted on train "
    "and tuning subjects.",
    "hymate-distilled": "HyMaTE over the carried state, taught by the labels and by boosted trees: not "
    "independent of the trees.",
    "hymate-folds": "HyMaTE over the carried state, ten times, each taught by nine tenths of the "
    "train and tuning subjects.",
    "hymate-paper": "HyMaTE as its paper describes it: raw triplets, pretraining by masked "
    "forecasting, then fine-tuning.",
    "logistic-summary": "Logistic regression on summary features of time series.",
    "xgboost-folds": "Boosted trees on summary features, ten times, each taught by nine tenths of "
    "train and tuning subjects.",
    "xgboost-summary": "Gradient-boosted trees on summary features of time series: the baseline every "
    "series model has to beat.",
}
ABOUT = _TOKENS | _HOURLY


def recipe_names() -> list[str]:
    """Names of all recipes, sorted, as users write them: with dashes."""
    return sorted(ABOUT)


def find_recipe(name: str) -> Any:
    """The recipe `name` (underscores count as dashes); ConfigError with the nearest if there is none."""
    wanted = name.replace("_", "-")
    if wanted not in ABOUT:
        raise ConfigError(unknown("recipe", wanted, recipe_names()))
    if wanted in _TOKENS:
        from chartscan.recipes.tokens import RECIPES
    else:
        from chartscan.recipes.hourly import RECIPES
    return RECIPES[wanted]
