"""What every kind of model is fitted with, so that networks and baselines are compared on equal terms.

Vocabularies and variables are fitted on train alone, fewer labels are the same ones for every model, and what
comes out is scored and calibrated on tuning samples in one way.
"""
