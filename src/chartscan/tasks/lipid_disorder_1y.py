"""New lipid disorder within a year, predicted at discharge. The rule is in `_new_onset`."""

from chartscan.cohort import Outcome, Record
from chartscan.tasks import _new_onset
from chartscan.tasks._new_onset import DEPENDS_ON, Config
from chartscan.vocabulary.diagnoses import LIPID_DISORDER

TITLE = "New lipid disorder within a year"
DESCRIPTION = (
    "A disorder of lipid metabolism (ICD-10 E78, ICD-9 272) "
    "coded for the first time on an encounter that starts within 365 days after discharge. "
    "Predicted at discharge, for patients who leave alive and never had it coded."
)
__all__ = ["DEFAULT", "DEPENDS_ON", "DESCRIPTION", "TITLE", "Config", "label"]
DEFAULT = Config(group=LIPID_DISORDER)


def label(record: Record, config: Config = DEFAULT) -> list[Outcome]:
    """One outcome per stay, as `_new_onset.label` says."""
    return _new_onset.label(record, config)


def title(config: Config = DEFAULT) -> str:
    """The title of the task with these settings."""
    return _new_onset.title("lipid disorder", config, DEFAULT)
