"""What no living patient can have: limits of well-known measurements, by code and UCUM unit.

The limits are wide on purpose, beyond the extremes that patients survived: they find slipped decimal points,
swapped fields and wrong units, not the very ill. A value outside is kept and counted, never changed.
"""

Limits = dict[str, tuple[float, float]]  # unit -> lowest and highest possible

_PRESSURE: Limits = {"mm[Hg]": (0, 400)}
_SATURATION: Limits = {"%": (0, 100)}
_TEMPERATURE: Limits = {"Cel": (10, 50), "[degF]": (50, 122)}
_GLUCOSE: Limits = {"mg/dL": (0, 5000), "mmol/L": (0, 280)}
_WEIGHT: Limits = {"kg": (0.2, 700), "g": (200, 700_000), "[lb_av]": (0.4, 1550)}
_HEIGHT: Limits = {"cm": (15, 280), "m": (0.15, 2.8), "[in_i]": (6, 110)}
_BLOOD_COUNT: Limits = {"10*3/uL": (0, 3000)}

_BY_UNIT: dict[str, Limits] = {
    "LOINC//8867-4": {"/min": (0, 500)},  # heart rate
    "LOINC//9279-1": {"/min": (0, 200)},  # respiratory rate
    "LOINC//8480-6": _PRESSURE,  # systolic
    "LOINC//8462-4": _PRESSURE,  # diastolic
    "LOINC//8478-0": _PRESSURE,  # mean
    "LOINC//59408-5": _SATURATION,
    "LOINC//2708-6": _SATURATION,
    "LOINC//3150-6": _SATURATION,  # inhaled oxygen
    "LOINC//8310-5": _TEMPERATURE,
    "LOINC//8329-5": _TEMPERATURE,
    "LOINC//8331-1": _TEMPERATURE,
    "LOINC//29463-7": _WEIGHT,
    "LOINC//3141-9": _WEIGHT,
    "LOINC//8302-2": _HEIGHT,
    "LOINC//3137-7": _HEIGHT,
    "LOINC//39156-5": {"kg/m2": (3, 300)},  # body mass index
    "LOINC//9269-2": {"": (3, 15), "{score}": (3, 15)},  # Glasgow coma score
    "LOINC//2345-7": _GLUCOSE,
    "LOINC//2339-0": _GLUCOSE,
    "LOINC//41653-7": _GLUCOSE,
    "LOINC//2951-2": {"mmol/L": (50, 250), "meq/L": (50, 250)},  # sodium
    "LOINC//2947-0": {"mmol/L": (50, 250), "meq/L": (50, 250)},
    "LOINC//2823-3": {"mmol/L": (0.5, 20), "meq/L": (0.5, 20)},  # potassium
    "LOINC//6298-4": {"mmol/L": (0.5, 20), "meq/L": (0.5, 20)},
    "LOINC//2075-0": {"mmol/L": (30, 220), "meq/L": (30, 220)},  # chloride
    "LOINC//2160-0": {"mg/dL": (0, 100), "umol/L": (0, 9000)},  # creatinine
    "LOINC//38483-4": {"mg/dL": (0, 100), "umol/L": (0, 9000)},
    "LOINC//3094-0": {"mg/dL": (0, 500)},  # urea nitrogen
    "LOINC//718-7": {"g/dL": (0, 30), "g/L": (0, 300), "mmol/L": (0, 19)},  # haemoglobin
    "LOINC//4544-3": {"%": (0, 90)},  # haematocrit
    "LOINC//20570-8": {"%": (0, 90)},
    "LOINC//6690-2": _BLOOD_COUNT,
    "LOINC//26464-8": _BLOOD_COUNT,
    "LOINC//777-3": {"10*3/uL": (0, 10_000)},
    "LOINC//26515-7": {"10*3/uL": (0, 10_000)},
    "LOINC//2744-1": {"": (6.0, 8.5), "[pH]": (6.0, 8.5)},  # pH of arterial blood
    "LOINC//11558-4": {"": (6.0, 8.5), "[pH]": (6.0, 8.5)},
    "LOINC//4548-4": {"%": (0, 30)},  # haemoglobin A1c
    "LOINC//2524-7": {"mmol/L": (0, 60), "mg/dL": (0, 540)},  # lactate
    "LOINC//32693-4": {"mmol/L": (0, 60)},
    "LOINC//1751-7": {"g/dL": (0, 15), "g/L": (0, 150)},  # albumin
    "LOINC//1975-2": {"mg/dL": (0, 120), "umol/L": (0, 2000)},  # bilirubin
}


ANYTHING = (float("-inf"), float("inf"))  # in a unit that has no limits


def _with_unitless(limits: Limits) -> dict[str | None, tuple[float, float]]:
    """The limits by unit; a number without a unit is judged by the widest of them."""
    lows, highs = zip(*limits.values(), strict=True)
    found: dict[str | None, tuple[float, float]] = {None: (min(lows), max(highs))}
    found.update(limits)
    return found


LIMITS = {code: _with_unitless(limits) for code, limits in _BY_UNIT.items()}
