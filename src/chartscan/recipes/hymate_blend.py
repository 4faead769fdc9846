"""HyMaTE over the carried state blended with boosted trees, cross-fitted on train and tuning subjects.

Ten members of each kind, each taught by nine tenths of the subjects; what all of them say of those they did
not see decides the blend's weights and its calibration.
"""

from chartscan.learn.ensembles.ensemble import EnsembleRecipe, Member

RECIPE = EnsembleRecipe(members=(Member("hymate", ("refit=false",)), Member("xgboost-summary")), folds=10)
