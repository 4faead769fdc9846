"""Records as irregular time series: fitted variables, triplets, and an hourly state."""

from chartscan.inputs.hourly.carried import CHANNELS, CarriedStream, carried, carried_grid, steps_of
from chartscan.inputs.hourly.triplets import Stay, Triplet, TripletStream, stays
from chartscan.inputs.hourly.variables import SeriesConfig, Variables

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
