"""How models learn: networks, tabular models and ensembles, each by the settings of a recipe.

What they learn from is any reader's (`inputs/readers/`): a learner asks it for batches or for a matrix. Knows
no command.
"""
