"""Gradient-boosted trees on summary features of time series: the baseline every series model has to beat."""

from chartscan.learn.baselines.summary import XGBoostSummaryRecipe

RECIPE = XGBoostSummaryRecipe()
