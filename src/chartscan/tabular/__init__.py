"""Models of a feature matrix. Each file holds Config, fit(matrix, y, ...), and load(path).

A fitted model has predict_proba(matrix) and save(path). Files are JSON, never pickle.
"""
