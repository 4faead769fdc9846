"""Logistic regression on token counts and ages."""

from chartscan.recipes._tabular import LogisticRecipe

RECIPE = LogisticRecipe()
