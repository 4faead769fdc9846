"""EVENTS -> tokens: vocabulary, numeric bins, and the EHRMamba representation, whole or event by event."""

from chartscan.inputs.tokens.config import SequenceConfig
from chartscan.inputs.tokens.continuation import Continuation, Grammar, violations
from chartscan.inputs.tokens.coverage import Coverage, check_coverage, coverage, named, summed, unknown_share
from chartscan.inputs.tokens.encoded import Cut, Encoded, cut, visible, window, window_index
from chartscan.inputs.tokens.encoder import Encoder
from chartscan.inputs.tokens.numeric import NumericBins, UnitBins, fit_bins
from chartscan.inputs.tokens.pace import Pace, fit_pace
from chartscan.inputs.tokens.timeline import (
    Event,
    Origin,
    Stream,
    Timeline,
    Token,
    encoded_from,
    events_in_known_order,
    timelines,
)
from chartscan.inputs.tokens.visits import known_order
from chartscan.inputs.tokens.vocabulary import FitScope, Vocabulary, fit_vocabulary, readings, token_rows

__all__ = [
    "Continuation",
    "Coverage",
    "Cut",
    "Encoded",
    "Encoder",
    "Event",
    "FitScope",
    "Grammar",
    "NumericBins",
    "Origin",
    "Pace",
    "SequenceConfig",
    "Stream",
    "Timeline",
    "Token",
    "UnitBins",
    "Vocabulary",
    "check_coverage",
    "coverage",
    "cut",
    "encoded_from",
    "events_in_known_order",
    "fit_bins",
    "fit_pace",
    "fit_vocabulary",
    "known_order",
    "named",
    "readings",
    "summed",
    "timelines",
    "token_rows",
    "unknown_share",
    "violations",
    "visible",
    "window",
    "window_index",
]
