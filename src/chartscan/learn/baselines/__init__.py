"""Training the tabular baselines, boosted trees and logistic regression, one model a task.

`tabular` feeds them counts of the tokens that sequence models read, `summary` features of the stays that
series models read.
"""
