"""Small random EVENTS for the tests of sequences and batches, and ways to read tokens."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from chartscan.inputs.tokens import Encoded, Encoder, NumericBins, SequenceConfig, fit_bins, fit_vocabulary
from chartscan.schema import EVENTS

START = datetime(2020, 1, 1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

CODES = {
    "static": ["GENDER//F", "RACE//A"],
    "admission": ["HOSPITAL_ADMISSION//EMER//ED"],
    "visit_start": ["ED_REGISTRATION"],
    "lab": ["LOINC//1", "LOINC//2"],
    "medication_administration": ["RXNORM//1"],
    "diagnosis": ["ICD10CM//I10", "ICD10CM//E78"],
    "visit_end": ["ED_OUT"],
    "discharge": ["HOSPITAL_DISCHARGE//HOME"],
    "death": ["MEDS_DEATH"],
}


def event(event_type, time, code=None, known=None, **values):
    """One row of EVENTS; `time` and `known` as durations since START (known: at once), None for static."""
    when = None if time is None else START + time
    available = when if known is None or time is None else START + known
    row = dict.fromkeys(EVENTS.names) | {"subject_id": 1, "time": when, "available_time": available}
    return row | {"event_type": event_type, "code": code or CODES[event_type][0]} | values


def birth(time=-40 * 365 * DAY, **values):
    return event("birth", time, code="MEDS_BIRTH", **values)


def table(rows):
    return pa.Table.from_pylist(rows, schema=EVENTS)


@st.composite
def rows(draw, max_size=25):
    """Rows of one subject with many ties, late results, unmatched and overlapping encounters."""
    kinds = st.sampled_from([*CODES, "lab", "lab", "admission", "discharge"])
    hours = st.sampled_from([0, 1, 2, 5, 20, 30, 100, 200, 700, 900, 9000])
    delays = st.sampled_from([0, 0, 0, 1, 30, 900])
    found = [birth()] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, max_size))):
        kind = draw(kinds)
        code = draw(st.sampled_from(CODES[kind]))
        if kind == "static" or (kind == "death" and draw(st.booleans())):
            found.append(event(kind, None, code))  # a death without a time is known to nobody
            continue
        hour, values = draw(hours), {"encounter_id": draw(st.sampled_from([None, "a", "b"]))}
        if kind == "lab":
            values["numeric_value"] = draw(st.sampled_from([None, 0.0, 1.0, 2.5, 7.0, 1e6]))
            values["unit"] = draw(st.sampled_from([None, "mg", "g"]))
            values["text_value"] = draw(st.sampled_from([None, "POS", "neg "]))
        found.append(event(kind, hour * HOUR, code, known=(hour + draw(delays)) * HOUR, **values))
    return found


def population(subjects=12, events=30, seed=0):
    """EVENTS of several subjects with stays, labs in two units, text results and late results."""
    random = np.random.default_rng(seed)
    found = []
    for subject in range(1, subjects + 1):
        found.append(birth(subject_id=subject))
        found.append(event("static", None, code=CODES["static"][subject % 2], subject_id=subject))
        for stay in range(max(1, events // 10)):
            start, stay_id = stay * int(random.integers(2, 60)) * DAY, f"{subject}-{stay}"
            found.append(event("admission", start, subject_id=subject, encounter_id=stay_id))
            for _ in range(8):
                time = start + int(random.integers(1, 40)) * HOUR
                late = int(random.choice([0, 1, 70])) * HOUR
                values = {"numeric_value": float(random.normal()), "unit": str(random.choice(["mg", "g"]))}
                values = {"text_value": "POS"} if random.random() < 0.2 else values
                code = str(random.choice(CODES["lab"]))
                found.append(event("lab", time, code, time + late, subject_id=subject, **values))
            found.append(event("diagnosis", start + 41 * HOUR, subject_id=subject))
            found.append(event("discharge", start + 41 * HOUR, subject_id=subject, encounter_id=stay_id))
    return table(found)


def encoder(tables=None, tasks=("a", "b"), **settings):
    """An encoder whose vocabulary holds whatever occurs in `tables` (default: the population)."""
    config = SequenceConfig(**{"min_subjects": 1, **settings})
    tables = [population()] if tables is None else tables
    bins = fit_bins(tables, config)
    return Encoder(fit_vocabulary(tables, bins, config, tasks), bins)


def code_encoder(**settings):
    """An encoder whose vocabulary is every code of CODES, without bins."""
    everything = [
        event(kind, None if kind == "static" else HOUR, c) for kind, codes in CODES.items() for c in codes
    ]
    config = SequenceConfig(min_subjects=1, **settings)
    bins = NumericBins(config.n_bins, {})
    return Encoder(fit_vocabulary([table(everything)], bins, config, ["a"]), bins)


def names(encoder_, encoded):
    """The tokens of `encoded`, written."""
    return [encoder_.vocabulary.tokens[code] for code in encoded.codes]


def same(a: Encoded, b: Encoded):
    """Assert that two encodings agree in every field and type."""
    for name in Encoded.__dataclass_fields__:
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(left, right, err_msg=name)
