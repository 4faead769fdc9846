"""The 41 parameters of the challenge: what each is, its unit, and what kind of event it becomes.

Names, meanings and units are those of the challenge's own page (physionet.org/content/challenge-2012).
"""

from typing import NamedTuple

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

ADMISSION = "HOSPITAL_ADMISSION//ICU"
OUTCOMES = {"0": "HOSPITAL_OUTCOME//ALIVE", "1": "HOSPITAL_OUTCOME//EXPIRED"}  # In-hospital_death -> code


def descriptions() -> dict[str, str]:
    """What every code means."""
    found = {p.code: p.description for p in MEASURED}
    found |= {f"{PREFIX}//{name}": text for name, text in NUMERIC_DESCRIPTORS.items()}
    for codes in CODED_DESCRIPTORS.values():
        found |= dict(codes.values())
    return found | {ADMISSION: "Admission to intensive care: time zero of the record"}
