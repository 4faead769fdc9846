"""Boosted trees on summary features, ten times, each taught by nine tenths of train and tuning subjects."""

from chartscan.learn.ensembles.ensemble import EnsembleRecipe, Member

RECIPE = EnsembleRecipe(members=(Member("xgboost-summary"),), folds=10, weights="equal")
