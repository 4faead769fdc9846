"""Records as irregular time series: variables learned on train, triplets, and a state carried by the hour."""

from chartscan.series.carried import CHANNELS, CarriedStream, carried, carried_grid, steps_of
from chartscan.series.config import SeriesConfig
from chartscan.series.triplets import Stay, Triplet, TripletStream, stays
from chartscan.series.variables import Variables

__all__ = [
    "CHANNELS",
    "CarriedStream",
    "SeriesConfig",
    "Stay",
    "Triplet",
    "TripletStream",
    "Variables",
    "carried",
    "carried_grid",
    "stays",
    "steps_of",
]
