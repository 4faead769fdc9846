"""What the synthetic hospital measures, gives and codes, how often; codes, names, units.

Frequencies of the long tail are Zipf's.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple


def cumulative(weights: Sequence[float]) -> tuple[float, ...]:
    """Running sums of `weights`, for `Draws.index`."""
    return tuple(accumulate(weights))


class Measure(NamedTuple):
    """A laboratory test or vital sign: LOINC code, name, UCUM unit, recorded decimals."""

    code: str
    display: str
    unit: str
    digits: int
    category: str = "laboratory"


VITAL = "vital-signs"
MEASURES = {
    "lactate": Measure("2524-7", "Lactate", "mmol/L", 1),
    "creatinine": Measure("2160-0", "Creatinine", "mg/dL", 2),
    "crp": Measure("1988-5", "C reactive protein", "mg/L", 1),
    "bnp": Measure("33762-6", "NT-proBNP", "pg/mL", 0),
    "hemoglobin": Measure("718-7", "Hemoglobin", "g/dL", 1),
    "sodium": Measure("2951-2", "Sodium", "mmol/L", 0),
    "potassium": Measure("2823-3", "Potassium", "mmol/L", 2),
    "triglyceride": Measure("2571-8", "Triglyceride", "mg/dL", 0),
    "ldl": Measure("13457-7", "LDL cholesterol (calculated)", "mg/dL", 0),
    "glucose": Measure("2345-7", "Glucose", "mg/dL", 0),
    "platelets": Measure("777-3", "Platelets", "10*3/uL", 0),
    "leukocytes": Measure("6690-2", "Leukocytes", "10*3/uL", 1),
    "systolic": Measure("8480-6", "Systolic blood pressure", "mm[Hg]", 0, VITAL),
    "diastolic": Measure("8462-4", "Diastolic blood pressure", "mm[Hg]", 0, VITAL),
    "pulse": Measure("8867-4", "Heart rate", "/min", 0, VITAL),
    "temperature": Measure("8310-5", "Body temperature", "Cel", 1, VITAL),
    "saturation": Measure("59408-5", "Oxygen saturation by pulse oximetry", "%", 0, VITAL),
}
# Drugs with a role in the disease model: RxNorm ingredient and name.
DRUGS = {
    "antibiotic": ("2193", "ceftriaxone"),
    "nsaid": ("35827", "ketorolac"),
    "loop_diuretic": ("4603", "furosemide"),
    "heparin": ("5224", "heparin"),
    "saline": ("9863", "sodium chloride 0.9 % bolus"),
    "thiazide": ("5487", "hydrochlorothiazide"),
    "steroid": ("8640", "prednisone"),
    "antihypertensive": ("29046", "lisinopril"),
    "statin": ("83367", "atorvastatin"),
    "potassium_chloride": ("8591", "potassium chloride"),
}
# These two are prescribed by reference to a Medication resource, as many hospitals do for all of theirs.
BY_REFERENCE = frozenset({"heparin", "steroid"})
_OTHER_DRUGS = """
161:acetaminophen 26225:ondansetron 40790:pantoprazole 6918:metoprolol 1191:aspirin 82003:docusate
7052:morphine 435:albuterol 5856:insulin 7804:oxycodone 6809:metformin 25480:gabapentin 6470:lorazepam
4278:famotidine 11124:vancomycin 32968:clopidogrel 10582:levothyroxine 6585:magnesium_sulfate
36437:sertraline 10737:trazodone 77492:tamsulosin 519:allopurinol 18631:azithromycin 82122:levofloxacin
6922:metronidazole 2180:cefazolin 10689:tramadol 5470:hydralazine 4337:fentanyl 8782:propofol
6960:midazolam 7512:norepinephrine 11289:warfarin 1364430:apixaban 3498:diphenhydramine 2556:citalopram
5093:haloperidol 35636:risperidone 7213:ipratropium 17128:lansoprazole 4493:fluoxetine 28439:lamotrigine
3616:dobutamine 3407:digoxin 703:amiodarone 6916:metolazone
"""  # RxNorm ingredient:name
OTHER_DRUGS = tuple((code, name) for code, _, name in (pair.partition(":") for pair in _OTHER_DRUGS.split()))
CHRONIC = {
    "heart_failure": "I50.9",
    "kidney_disease": "N18.3",
    "diabetes": "E11.9",
    "lung_disease": "J44.9",
    "cancer": "C34.90",
    "fibrillation": "I48.91",
}
# Codes of the three groups whose first appearance is predicted, with weights.
ONSET_CODES = {
    "hypertension": ("I10", "I11.9", "I12.9", "I13.10"),
    "fluid": ("E87.1", "E86.0", "E87.6", "E87.5"),
    "lipid": ("E78.5", "E78.00", "E78.2", "E78.1"),
}
ONSET_CODE_WEIGHTS = cumulative((0.7, 0.15, 0.1, 0.05))
PRINCIPAL = ("J18.9", "A41.9", "N39.0", "I21.4", "K92.2", "J96.01", "I63.9", "L03.115", "K85.90", "S72.001A")
_OTHER_CONDITIONS = """
R07.9 R10.9 R55 R06.02 R50.9 R42 R51.9 R11.2 R53.1 R60.0 R19.7 R33.9 R41.82 R05.9 R31.9 R00.0 K21.9 K59.00
K57.30 K80.20 K29.70 K64.9 K70.30 K74.60 K76.0 K44.9 K25.9 K50.90 D64.9 D50.9 D62 D69.6 D72.829 D63.1
D68.9 F32.9 F41.9 F17.210 F10.20 F03.90 F05 F31.9 F20.9 G47.33 G40.909 G20 G30.9 G89.29 G43.909 G62.9
H40.9 H26.9 H91.90 I25.10 I73.9 I25.2 I34.0 I35.0 I27.20 I82.409 I26.99 I95.9 I44.7 I69.351 J45.909 J98.11
J90 J69.0 J44.1 J30.9 J32.9 L89.159 L30.9 L40.9 L97.909 M19.90 M54.5 M81.0 M10.9 M25.561 M79.7 M06.9
M48.061 M62.81 N40.0 N17.9 N20.0 N28.1 N30.00 N18.4 N13.30 N92.0 E03.9 E66.9 E55.9 E11.65 E11.22 E11.40
E05.90 E21.3 E46 E83.42 B18.2 B96.20 B37.0 A04.72 C50.919 C61 C18.9 C79.51 C90.00 C34.11 D12.6 S06.0X0A
S22.41XA S42.201A S82.001A T81.4XXA T78.40XA T50.901A W19.XXXA Y92.009 Z79.4 Z79.01 Z87.891 Z95.1 Z95.5
Z96.651 Z85.3 Z86.73 Z99.81 Z66 Z91.19 Z88.0 Z23
"""
OTHER_CONDITIONS = tuple(_OTHER_CONDITIONS.split())
# Procedures are SNOMED CT, as clinicians chart them at the time; billing codes come after discharge.
OPERATIONS = (
    "80146002",  # appendectomy
    "38102005",  # cholecystectomy
    "609588000",  # knee replacement
    "52734007",  # hip replacement
    "415070008",  # percutaneous coronary intervention
    "232717009",  # coronary artery bypass
    "307280005",  # pacemaker
    "26390003",  # colectomy
)
BEDSIDE = (
    "40617009",  # ventilation
    "116859006",  # transfusion
    "40701008",  # echocardiography
    "16310003",  # ultrasonography
    "91602002",  # thoracentesis
    "302497006",  # haemodialysis
    "77477000",  # computed tomography
    "399208008",  # chest radiograph
    "29303009",  # electrocardiogram
)
VACCINES = (("140", "Influenza, seasonal"), ("133", "Pneumococcal conjugate PCV 13"), ("115", "Tdap"))
ALLERGENS = (("7980", "penicillin"), ("10831", "sulfamethoxazole"), ("7804", "oxycodone"))
RACES = (
    ("2106-3", "White"),
    ("2054-5", "Black or African American"),
    ("2028-9", "Asian"),
    ("2131-1", "Other Race"),
)


def zipf(n: int, shift: float = 3.0) -> tuple[float, ...]:
    """Cumulative weights of a long tail of n codes."""
    return cumulative([1.0 / (rank + shift) for rank in range(n)])


OTHER_DRUG_WEIGHTS = zipf(len(OTHER_DRUGS))
OTHER_CONDITION_WEIGHTS = zipf(len(OTHER_CONDITIONS))
