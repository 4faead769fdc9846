"""Logistic regression on token counts and ages."""

from chartscan.learn.baselines.tabular import LogisticRecipe

RECIPE = LogisticRecipe()
