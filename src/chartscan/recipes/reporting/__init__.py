"""The predictions that a report sets side by side: those the user names, and those of the simulator itself.

Each is checked against model and dataset, and comes with the subgroup of every subject. Metrics and pages are
the work of `chartscan.evaluation`.
"""
