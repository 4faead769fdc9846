"""Ensembles of other recipes.

With folds, what all members say of the subjects that did not teach them decides weights and calibration.
"""

from msgspec.structs import replace

from chartscan.learn.ensembles.ensemble import EnsembleRecipe
from chartscan.learn.ensembles.members import Member
from chartscan.recipes import hourly, tokens, trees

_HYMATE = Member("hymate", replace(hourly.HYMATE, refit=False))  # refitted, it would have seen who weighs it
_TREES = Member("xgboost-summary", trees.RECIPES["xgboost-summary"])

RECIPES = {
    "ehrmamba-seeds": EnsembleRecipe(
        members=(Member("ehrmamba", tokens.RECIPES["ehrmamba"], seeds=(0, 1, 2)),), weights="equal"
    ),
    "hymate-blend": EnsembleRecipe(members=(_HYMATE, _TREES), folds=10),
    "hymate-folds": EnsembleRecipe(members=(_HYMATE,), folds=10, weights="equal"),
    "xgboost-folds": EnsembleRecipe(members=(_TREES,), folds=10, weights="equal"),
}
