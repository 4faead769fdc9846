"""EVENTS of ICU stays written by hand, random ones for properties, and plain loops to compare with."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from chartscan.inputs.hourly import SeriesConfig, Stay, TripletStream, Variables
from chartscan.schema import EVENTS, QUESTIONS

ZERO = datetime(2012, 1, 1)
CODES = ("PHYSIONET2012//HR", "PHYSIONET2012//pH", "X//plain")
SMALL = SeriesConfig(min_subjects=1, window_hours=6)


def at(hours):
    return None if hours is None else ZERO + timedelta(hours=hours)


def event(subject, hours, code, value=None, kind="lab", known=None, unit=None):
    """One EVENTS row as a dictionary; `hours` None: static."""
    return {
        "subject_id": subject,
        "time": at(hours),
        "code": code,
        "numeric_value": value,
        "event_type": kind,
        "available_time": at(hours if known is None else known),
        "unit": unit,
    }


def admission(subject, hours=0.0):
    return event(subject, hours, "HOSPITAL_ADMISSION//ICU", kind="admission")


def static(subject, code, value=None):
    return event(subject, None, code, value, kind="static")


def table(rows):
    return pa.Table.from_pylist(rows, schema=EVENTS)


def questions(*asked):
    """Rows (subject, hours) as labels without answers."""
    rows = [{"subject_id": s, "prediction_time": at(h)} for s, h in asked]
    return pa.Table.from_pylist(rows, schema=QUESTIONS)


def known_order(rows, seed=0):
    """The rows of one subject as a live record brings them, as plain objects; of one instant by chance."""
    rows = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    rows.sort(key=lambda row: row["available_time"] or datetime.min)
    return [type("Row", (), row)() for row in rows]


def live(rows, end_hours, variables, seed=0):
    """The stream of a subject's rows up to `end_hours`, and the triplets of the last stay that it gives."""
    stream, found = TripletStream(variables), []
    for row in known_order(rows, seed):
        if row.available_time is None or row.available_time <= at(end_hours):
            begun = stream.stay
            added = stream.push(row)
            found = [] if stream.stay > begun else found
            found += added
    return stream, found + stream.settle()


def training_rows(subjects=12, seed=0):
    """Rows of a few subjects with all of CODES and static facts."""
    random = np.random.default_rng(seed)
    rows = []
    for subject in range(1, subjects + 1):
        rows += [admission(subject), static(subject, "PHYSIONET2012//Age", float(random.integers(20, 90)))]
        rows.append(static(subject, f"GENDER//{'FM'[subject % 2]}"))
        for code, mean in zip(CODES, (80, 7.4, 0), strict=True):
            hours = np.sort(random.integers(0, 480, 20)) / 10
            values = mean + np.abs(mean) / 20 * random.normal(size=20) + (mean == 0) * random.normal(size=20)
            rows += [event(subject, float(h), code, float(v)) for h, v in zip(hours, values, strict=True)]
    return rows


VARIABLES = Variables.fit([table(training_rows())], SMALL)

tenths = st.integers(0, 120).map(lambda n: n / 10)  # hours
measured = st.tuples(tenths, st.sampled_from(CODES), st.sampled_from([7.1, 7.4, 60.0, 81.5, 90.0, 900.0]))


@st.composite
def records(draw, subject=1, max_size=40):
    """Rows of one subject: measurements, some known late, and perhaps an admission or two."""
    rows = []
    for hours, code, value in draw(st.lists(measured, max_size=max_size)):
        late = draw(st.sampled_from([0.0, 0.0, 0.0, 1.5]))
        rows.append(event(subject, hours, code, value, known=hours + late))
    begun = draw(st.lists(st.sampled_from([0.0, 3.0]), max_size=2, unique=True))
    rows += [admission(subject, h) for h in begun]
    return rows


def random_stay(random, n, variables=VARIABLES, end_hours=12.0, subject=1):
    """A stay of n events at tenths of hours, the whole hours among them."""
    hours = random.integers(0, int(end_hours * 10) + 1, n) / 10
    numbers = random.integers(1, variables.n_variables + 1, n)
    low, high = variables.quantiles[numbers - 1, 0], variables.quantiles[numbers - 1, -1]
    values = (low + (high - low) * random.random(n)).astype(np.float32)
    order = np.lexsort((values, numbers, hours))
    facts = random.random(len(variables.fact_names)).astype(np.float32)
    return Stay(
        subject_id=subject,
        end_hours=end_hours,
        hours=hours[order].astype(np.float32),
        variables=numbers[order].astype(np.int16),
        values=values[order],
        statics=variables.inputs_of_statics(facts[None])[0],
        facts=facts,
    )
