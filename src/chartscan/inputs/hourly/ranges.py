"""Values that a living patient can have, by code; a value outside is a mistake of the record, not a finding.

Fixed before any training, from the distributions of all measurements. Both ends belong to the range. Codes
that are not here have none. In PhysioNet 2012 negative numbers stand for "missing", so no range goes below 0.
"""

import math

Range = tuple[float, float]

ABOVE_ZERO: Range = (1e-6, math.inf)  # a pressure of 0 is a line that was off
NOT_NEGATIVE: Range = (0.0, math.inf)

_PHYSIONET2012: dict[str, Range] = {
    "Age": NOT_NEGATIVE,
    "Height": (100.0, 230.0),  # cm
    "Weight": (20.0, 300.0),  # kg
    "pH": (6.5, 8.0),
    "WBC": (0.0, 500.0),  # 10^9/l
    "Urine": (0.0, 5000.0),  # ml; 0 is real
    "Temp": (25.0, 45.0),  # degrees Celsius
    "HR": (10.0, 300.0),  # per minute
    "RespRate": (1.0, 100.0),  # per minute
    "Mg": (0.1, 15.0),  # mmol/l
    **dict.fromkeys(("SysABP", "DiasABP", "MAP", "NISysABP", "NIDiasABP", "NIMAP"), ABOVE_ZERO),
    **dict.fromkeys(
        (
            *("Albumin", "ALP", "ALT", "AST", "Bilirubin", "BUN", "Cholesterol", "Creatinine", "FiO2"),
            *("GCS", "Glucose", "HCO3", "HCT", "K", "Lactate", "MechVent", "Na", "PaCO2", "PaO2"),
            *("Platelets", "SaO2", "TroponinI", "TroponinT"),
        ),
        NOT_NEGATIVE,
    ),
}

RANGES: dict[str, Range] = {f"PHYSIONET2012//{name}": limits for name, limits in _PHYSIONET2012.items()}


def range_of(code: str) -> Range:
    """The range of a code; everything where it has none."""
    return RANGES.get(code, (-math.inf, math.inf))
