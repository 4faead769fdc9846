"""Logistic regression on summary features of time series."""

from chartscan.recipes.baselines.summary import LogisticSummaryRecipe

RECIPE = LogisticSummaryRecipe()
