"""Answers of trained networks explained: what each method says of each event, and how far to believe it.

`tokens` and `series` explain the two kinds of network, `future` sets a forecast beside what came, `summary`
puts many explanations in numbers. Drawing the page is the work of `chartscan.interpret`.
"""
