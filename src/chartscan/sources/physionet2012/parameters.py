"""The settings of the source, and the parameters of PhysioNet 2012: names, units and limits."""

from datetime import datetime
from typing import NamedTuple

import msgspec
import numpy as np

from chartscan.sources.physionet2012.splits import parsed_splits
from chartscan.vocabulary.units import ANYTHING, LIMITS

MOST_MB = 1 << 16


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the PhysioNet/CinC Challenge 2012 source."""

    # Times in the files are hours and minutes since admission; this is the moment of every admission (UTC).
    time_zero: str = "2012-01-01T00:00:00"
    # Which sets, or shares of them, are for what: "train=a:0.8,tuning=a:0.2,held_out=b"; None: the store's
    # random shares of everything.
    splits: str | None = None
    batch_mb: int = 8  # text parsed at once
    record_limit_mb: int = 16  # a record file is some kilobytes
    archive_limit_mb: int = 1024  # of an archive when unpacked; it is held in memory

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        if _moment(self.time_zero) is None:
            raise ValueError(
                "time_zero: expected a moment in UTC without an offset, such as 2012-01-01T00:00"
            )
        if self.splits is not None:
            parsed_splits(self.splits)
        limits = self.batch_mb, self.record_limit_mb, self.archive_limit_mb
        if not all(1 <= limit <= MOST_MB for limit in limits):
            raise ValueError(f"batch_mb, record_limit_mb and archive_limit_mb lie between 1 and {MOST_MB}")


def _moment(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is None else None


# The 41 parameters; names, meanings and units as on physionet.org/content/challenge-2012.

PREFIX = "PHYSIONET2012"
RECORD_ID = "RecordID"


class Parameter(NamedTuple):
    """One measured parameter."""

    name: str
    event_type: str
    description: str

    @property
    def code(self) -> str:
        """Its code in EVENTS."""
        return f"{PREFIX}//{self.name}"


MEASURED = tuple(
    Parameter(*row)
    for row in (
        ("ALP", "lab", "Alkaline phosphatase (IU/L)"),
        ("ALT", "lab", "Alanine transaminase (IU/L)"),
        ("AST", "lab", "Aspartate transaminase (IU/L)"),
        ("Albumin", "lab", "Albumin (g/dL)"),
        ("BUN", "lab", "Blood urea nitrogen (mg/dL)"),
        ("Bilirubin", "lab", "Bilirubin (mg/dL)"),
        ("Cholesterol", "lab", "Cholesterol (mg/dL)"),
        ("Creatinine", "lab", "Serum creatinine (mg/dL)"),
        ("DiasABP", "vital", "Invasive diastolic arterial blood pressure (mmHg)"),
        ("FiO2", "observation", "Fractional inspired oxygen (0-1)"),
        ("GCS", "observation", "Glasgow Coma Score (3-15)"),
        ("Glucose", "lab", "Serum glucose (mg/dL)"),
        ("HCO3", "lab", "Serum bicarbonate (mmol/L)"),
        ("HCT", "lab", "Hematocrit (%)"),
        ("HR", "vital", "Heart rate (bpm)"),
        ("K", "lab", "Serum potassium (mEq/L)"),
        ("Lactate", "lab", "Lactate (mmol/L)"),
        ("MAP", "vital", "Invasive mean arterial blood pressure (mmHg)"),
        ("MechVent", "procedure", "Mechanical ventilation (1: yes)"),
        ("Mg", "lab", "Serum magnesium (mmol/L)"),
        ("NIDiasABP", "vital", "Non-invasive diastolic arterial blood pressure (mmHg)"),
        ("NIMAP", "vital", "Non-invasive mean arterial blood pressure (mmHg)"),
        ("NISysABP", "vital", "Non-invasive systolic arterial blood pressure (mmHg)"),
        ("Na", "lab", "Serum sodium (mEq/L)"),
        ("PaCO2", "lab", "Partial pressure of arterial carbon dioxide (mmHg)"),
        ("PaO2", "lab", "Partial pressure of arterial oxygen (mmHg)"),
        ("Platelets", "lab", "Platelets (cells/nL)"),
        ("RespRate", "vital", "Respiration rate (bpm)"),
        ("SaO2", "lab", "Oxygen saturation in hemoglobin (%)"),
        ("SysABP", "vital", "Invasive systolic arterial blood pressure (mmHg)"),
        ("Temp", "vital", "Temperature (degrees Celsius)"),
        ("TroponinI", "lab", "Troponin-I (ug/L)"),
        ("TroponinT", "lab", "Troponin-T (ug/L)"),
        ("Urine", "observation", "Urine output (mL)"),
        ("WBC", "lab", "White blood cell count (cells/nL)"),
        ("Weight", "vital", "Weight (kg)"),
        ("pH", "lab", "Arterial pH (0-14)"),
    )
)
NUMERIC_DESCRIPTORS = {"Age": "Age (years)", "Height": "Height (cm)"}  # the value is the event's number
CODED_DESCRIPTORS: dict[str, dict[int, tuple[str, str]]] = {  # value -> code and description
    "Gender": {0: ("GENDER//F", "Female"), 1: ("GENDER//M", "Male")},
    "ICUType": {
        1: (f"{PREFIX}//ICUType//1", "Coronary care unit"),
        2: (f"{PREFIX}//ICUType//2", "Cardiac surgery recovery unit"),
        3: (f"{PREFIX}//ICUType//3", "Medical ICU"),
        4: (f"{PREFIX}//ICUType//4", "Surgical ICU"),
    },
}
DESCRIPTORS = (*NUMERIC_DESCRIPTORS, *CODED_DESCRIPTORS)  # known at admission: events without a time
NAMES = (*(p.name for p in MEASURED), *DESCRIPTORS)  # all that a value can belong to
AGE = NAMES.index("Age")

_LIKE = {  # the measurement whose limits hold, as LOINC code and unit
    "Albumin": ("LOINC//1751-7", "g/dL"),
    "BUN": ("LOINC//3094-0", "mg/dL"),
    "Bilirubin": ("LOINC//1975-2", "mg/dL"),
    "Creatinine": ("LOINC//2160-0", "mg/dL"),
    "GCS": ("LOINC//9269-2", "{score}"),
    "Glucose": ("LOINC//2345-7", "mg/dL"),
    "HCT": ("LOINC//4544-3", "%"),
    "HR": ("LOINC//8867-4", "/min"),
    "K": ("LOINC//2823-3", "meq/L"),
    "Lactate": ("LOINC//2524-7", "mmol/L"),
    "Na": ("LOINC//2951-2", "meq/L"),
    "Platelets": ("LOINC//777-3", "10*3/uL"),
    "RespRate": ("LOINC//9279-1", "/min"),
    "SaO2": ("LOINC//2708-6", "%"),
    "Temp": ("LOINC//8310-5", "Cel"),
    "WBC": ("LOINC//6690-2", "10*3/uL"),
    "Weight": ("LOINC//29463-7", "kg"),
    "Height": ("LOINC//8302-2", "cm"),
    "pH": ("LOINC//2744-1", "[pH]"),
    **dict.fromkeys(
        ("SysABP", "DiasABP", "MAP", "NISysABP", "NIDiasABP", "NIMAP"), ("LOINC//8480-6", "mm[Hg]")
    ),
}
_LIMITS = {name: LIMITS[code][unit] for name, (code, unit) in _LIKE.items()} | {"FiO2": (0.0, 1.0)}
# Lowest and highest value of a living patient, of shape (names, 2); a value outside is kept and counted.
POSSIBLE = np.array([_LIMITS.get(name, ANYTHING) for name in NAMES])

ADMISSION = "HOSPITAL_ADMISSION//ICU"
OUTCOMES = {"0": "HOSPITAL_OUTCOME//ALIVE", "1": "HOSPITAL_OUTCOME//EXPIRED"}  # In-hospital_death -> code


def descriptions() -> dict[str, str]:
    """What every code means."""
    found = {p.code: p.description for p in MEASURED}
    found |= {f"{PREFIX}//{name}": text for name, text in NUMERIC_DESCRIPTORS.items()}
    for codes in CODED_DESCRIPTORS.values():
        found |= dict(codes.values())
    return found | {ADMISSION: "Admission to intensive care: time zero of the record"}
