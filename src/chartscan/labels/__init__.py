"""LABELS: made by tasks or read from files, and predicted by trained models.

Labels remember the dataset they were made from and are used with no other. Subjects that a model has learned
from never count as held out. Where the outcome is not known, a question is a subject and a time.
"""

MAX_UNKNOWN = 0.05  # share of unknown words in what a task depends on from which it is refused
