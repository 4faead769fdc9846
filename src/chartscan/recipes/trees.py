"""Baselines: boosted trees and logistic regression, on token counts or on summary features."""

from chartscan.learn.baselines.summary import TREES, SummaryRecipe
from chartscan.learn.baselines.tabular import TabularRecipe
from chartscan.tabular import logistic, xgboost

RECIPES = {
    "logistic": TabularRecipe(model=logistic.Config()),
    "logistic-summary": SummaryRecipe(model=logistic.Config()),
    "xgboost": TabularRecipe(model=xgboost.Config()),
    "xgboost-summary": SummaryRecipe(model=TREES),
}
