"""Logistic regression on summary features of time series."""

from chartscan.learn.baselines.summary import LogisticSummaryRecipe

RECIPE = LogisticSummaryRecipe()
