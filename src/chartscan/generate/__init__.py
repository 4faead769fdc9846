"""ARTIFACT + history -> possible futures, token by token with carried state.

The state after a history is computed once and forked into as many futures as are wanted; a token more costs
the same after every history.
"""

from chartscan.generate.futures import Future, Plan, generate, go_on
from chartscan.generate.reading import History, causal, history_of, read

__all__ = ["Future", "History", "Plan", "causal", "generate", "go_on", "history_of", "read"]
