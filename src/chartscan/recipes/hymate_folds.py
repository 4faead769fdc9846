"""HyMaTE over the carried state, ten times, each taught by nine tenths of the train and tuning subjects."""

from chartscan.learn.ensembles.ensemble import EnsembleRecipe, Member

RECIPE = EnsembleRecipe(members=(Member("hymate", ("refit=false",)),), folds=10, weights="equal")
