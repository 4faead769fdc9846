"""Training networks, from random weights or those of an artifact, through pretraining, to a calibrated model.

`sequence` trains models of tokens and `series` models of measurements over time; the other modules are what
one or both of them do: batches of an epoch, objectives, prompts, the model with its head, a teacher.
"""
