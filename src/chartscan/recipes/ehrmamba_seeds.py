"""EHRMamba three times, from three seeds; its answer is the mean of their log odds."""

from chartscan.learn.ensembles.ensemble import EnsembleRecipe, Member

RECIPE = EnsembleRecipe(members=(Member("ehrmamba", seeds=(0, 1, 2)),), weights="equal")
