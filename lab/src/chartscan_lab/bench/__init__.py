"""`chartscan bench`: measurements of this machine beside peers, as lines of text and, if wanted, as JSON.

Every bench is a file with `Settings`, whose `run` measures and whose `table` says what was found. The rules
they share are in `timing` (implementations in turn), `memory` (a fresh process a figure) and `machine` (what
else went on). An implementation whose result is wrong is not timed.
"""
