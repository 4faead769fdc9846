"""HyMaTE over the carried state, taught by the labels and by boosted trees: not independent of the trees.

Half of each train answer is what trees say that other train subjects taught; all else is as in `hymate`.
"""

import msgspec

from chartscan.learn.neural.teacher import Teacher
from chartscan.recipes.hymate import RECIPE as HYMATE

RECIPE = msgspec.structs.replace(HYMATE, teacher=Teacher(), refit=False)
