"""Which events of an explanation count as true causes, on the simulator's word."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from chartscan.interpret.explanation import Explanation, Question
from chartscan.interpret.summary import causes

SATURATION = "LOINC//59408-5"


def stays(hours):
    """An admission and saturations at these hours, in two stays a month apart."""
    rows = []
    for visit in (1, 2):
        begin = datetime(2020, visit, 1)
        rows.append((begin, "HOSPITAL_ADMISSION//IMP", "admission", visit))
        rows += [(begin + timedelta(hours=hour), SATURATION, "lab", visit) for hour in hours]
    return pl.DataFrame(rows, schema=["time", "code", "event_type", "visit"], orient="row")


def test_of_six_saturations_of_the_last_stay_the_middle_two_in_time_are_no_causes():
    question = Question("mortality_30d", 1, datetime(2020, 3, 1), 0.5, None)
    causal, counted = causes(Explanation(question, stays([0, 3, 1, 2, 9, 8]), {}, {}, {}, {}, {}))
    np.testing.assert_array_equal(counted, [False, *6 * [True]] * 2)
    np.testing.assert_array_equal(causal, [*8 * [False], True, False, True, False, True, True])
