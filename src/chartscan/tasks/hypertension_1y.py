"""New hypertension within a year, predicted at discharge. The rule is in `_new_onset`."""

from chartscan.cohort import Outcome, Record
from chartscan.tasks import _new_onset
from chartscan.tasks._new_onset import DEPENDS_ON, Config
from chartscan.vocabulary.diagnoses import HYPERTENSION

TITLE = "New hypertension within a year"
DESCRIPTION = (
    "Hypertensive disease (ICD-10 I10-I1A, ICD-9 401-405) "
    "coded for the first time on an encounter that starts within 365 days after discharge. "
    "Predicted at discharge, for patients who leave alive and never had it coded."
)
__all__ = ["DEFAULT", "DEPENDS_ON", "DESCRIPTION", "TITLE", "Config", "label"]
DEFAULT = Config(group=HYPERTENSION)


def label(record: Record, config: Config = DEFAULT) -> list[Outcome]:
    """One outcome per stay, as `_new_onset.label` says."""
    return _new_onset.label(record, config)


def title(config: Config = DEFAULT) -> str:
    """The title of the task with these settings."""
    return _new_onset.title("hypertension", config, DEFAULT)
