"""Objectives of training, one a file; each owns its head and returns a loss."""
