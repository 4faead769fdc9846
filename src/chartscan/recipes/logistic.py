"""Logistic regression on token counts and ages."""

from chartscan.recipes.baselines.tabular import LogisticRecipe

RECIPE = LogisticRecipe()
