"""What is asked about whom: LABELS made by tasks or read, and those that a trained model can be asked.

Labels remember the dataset they were made from and are used with no other; nobody whom a model has learned
from is taken for held out. An outcome may be unknown: then a question is a subject and a time.
"""

MAX_UNKNOWN = 0.05  # share of unknown words in what a task depends on from which it is refused
