"""Gradient-boosted trees on token counts and ages: the baseline every sequence model has to beat."""

from chartscan.learn.baselines.tabular import XGBoostRecipe

RECIPE = XGBoostRecipe()
