"""How good probabilities are, as pure functions of numpy arrays.

Every public file holds one metric of the file's name: `name(labels, scores, weights=None)`, a number or a
curve. Higher scores mean more likely; weights count rows (2 is the row twice, 0 is no row). Metrics that
a set cannot define (one class only, no rows) are nan, never an error and never a guess. Nothing here knows
subjects, tasks or files, and arguments are never changed.
"""
