"""Logistic regression on summary features of time series."""

from chartscan.recipes._summary import LogisticSummaryRecipe

RECIPE = LogisticSummaryRecipe()
