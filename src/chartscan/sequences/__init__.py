"""EVENTS -> tokens: vocabulary, numeric bins, and the EHRMamba representation, whole or event by event."""

from chartscan.sequences.attributes import Token
from chartscan.sequences.config import SequenceConfig
from chartscan.sequences.continuation import Continuation
from chartscan.sequences.coverage import Coverage, check_coverage, coverage, named, unknown_share
from chartscan.sequences.encoded import Cut, Encoded, cut, visible, window, window_index
from chartscan.sequences.encoder import Encoder
from chartscan.sequences.grammar import Grammar, violations
from chartscan.sequences.numeric import NumericBins, UnitBins, fit_bins
from chartscan.sequences.order import known_order
from chartscan.sequences.pace import Pace, fit_pace
from chartscan.sequences.stream import Event, Stream, encoded_from, events_in_known_order
from chartscan.sequences.timeline import Origin, Timeline, timelines
from chartscan.sequences.vocabulary import FitScope, Vocabulary, fit_vocabulary, readings, token_rows

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
    "timelines",
    "token_rows",
    "unknown_share",
    "violations",
    "visible",
    "window",
    "window_index",
]
