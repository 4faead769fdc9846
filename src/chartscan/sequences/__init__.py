"""EVENTS -> tokens: vocabulary, numeric bins, and the EHRMamba representation, whole or event by event."""

from chartscan.sequences.config import SequenceConfig
from chartscan.sequences.coverage import Coverage, check_coverage, coverage
from chartscan.sequences.encoded import Cut, Encoded, cut, visible, window
from chartscan.sequences.encoder import Encoder
from chartscan.sequences.numeric import NumericBins, UnitBins, fit_bins
from chartscan.sequences.order import known_order
from chartscan.sequences.stream import Event, Stream, Token, encoded_from, events_in_known_order
from chartscan.sequences.vocabulary import FitScope, Vocabulary, fit_vocabulary

__all__ = [
    "Coverage",
    "Cut",
    "Encoded",
    "Encoder",
    "Event",
    "FitScope",
    "NumericBins",
    "SequenceConfig",
    "Stream",
    "Token",
    "UnitBins",
    "Vocabulary",
    "check_coverage",
    "coverage",
    "cut",
    "encoded_from",
    "events_in_known_order",
    "fit_bins",
    "fit_vocabulary",
    "known_order",
    "visible",
    "window",
]
