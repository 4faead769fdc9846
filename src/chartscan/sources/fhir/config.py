"""What a site may have to say about its FHIR export."""

from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from chartscan.site import Vocabulary

# Where a concept is coded in several systems, the first of these is taken; others follow in the order given.
PRIORITY = (
    "ICD10CM",
    "ICD9CM",
    "ICD10PCS",
    "ICD9PROC",
    "ICD10",
    "LOINC",
    "RXNORM",
    "SNOMED",
    "CVX",
    "NDC",
    "CPT",
    "HCPCS",
)
# Cultures grow for days. MIMIC-IV on FHIR leaves out when their results were stored; by its tables the median
# is 73 hours and the 90th percentile 147; a week (168) is too early for one result in twenty.
MICROBIOLOGY = {
    "mimic-microbiology-test": 168.0,
    "mimic-microbiology-organism": 168.0,
    "mimic-microbiology-antibiotic": 168.0,
}
MOST_HOURS = 100_000  # more than eleven years: no delay, but a mistake


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the FHIR source. The defaults read standard R4 exports and MIMIC-IV on FHIR."""

    namespace: str = "fhir"  # hashed into subject ids: keeps equal patient ids of two hospitals apart
    time_zone: str = "UTC"  # of dates, and of times without an offset

    # An encounter is what the ending of an identifier system says, else what its class says.
    stay_identifiers: tuple[str, ...] = ("encounter-hosp",)
    emergency_identifiers: tuple[str, ...] = ("encounter-ed",)
    icu_identifiers: tuple[str, ...] = ("encounter-icu",)
    # Words beyond those of HL7; a site file (vocabulary) says the same of more things.
    stay_classes: tuple[str, ...] = ()
    emergency_classes: tuple[str, ...] = ()
    expired_dispositions: tuple[str, ...] = ()
    vocabulary: Vocabulary = Vocabulary()

    # When records became known that do not say so. Code system -> hours from the draw to the result:
    result_delay_hours: dict[str, float] = msgspec.field(default_factory=MICROBIOLOGY.copy)
    default_result_delay_hours: float = 24.0  # of all other laboratory results
    billing_systems: tuple[str, ...] = (
        "ICD9PROC",
        "ICD10PCS",
        "CPT",
        "HCPCS",
    )  # of procedures that are billed
    coding_lag_hours: float = 0.0  # from the end of the encounter to its codes; 0: known at discharge

    keep_undated_dispenses: bool = False  # at the end of their encounter, hundreds at one moment
    coding_priority: tuple[str, ...] = PRIORITY
    systems: dict[str, str] = {}  # URL of a code system -> the name it gets; decides where two would collide
    keep_text_codes: bool = False  # TEXT//... where a concept has words only; words may identify a person
    max_text_characters: int = 255  # longer text results are narratives, and dropped

    # Conditions that are provisional, differential or unconfirmed: observations apart, or
    unconfirmed_diagnoses: Literal["apart", "leave_out", "as_diagnosis"] = "apart"
    harmless_modifiers: tuple[str, ...] = ()  # URLs of modifier extensions that change nothing here
    one_server: bool = False  # ids that seem to be of two servers are of one: the valid version counts

    allow_missing: bool = False  # read an export that has no Patient at all, or lacks some of them
    line_limit_mb: int = 16
    nesting_limit: int = 64
    archive_ratio_limit: int = 100  # a packed file may unpack to this many times its size,
    archive_limit_mb: int = 1024  # or to this much; one that is over both is refused
    batch_rows: int = 10_000  # events handed to the writer at once

    @property
    def words(self) -> Vocabulary:
        """The site's own words, those of the settings among them."""
        own = self.vocabulary
        classes = dict.fromkeys(self.emergency_classes, "emergency") | dict.fromkeys(
            self.stay_classes, "stay"
        )
        dead = dict.fromkeys(self.expired_dispositions, "dead")
        return msgspec.structs.replace(
            own,
            class_=classes | own.class_,
            disposition=dead | own.disposition,
            systems=self.systems | own.systems,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as err:
            raise ValueError(f"time_zone: '{self.time_zone}' is no time zone such as Europe/Berlin") from err
        delays = self.default_result_delay_hours, self.coding_lag_hours, *self.result_delay_hours.values()
        if not all(0 <= hours <= MOST_HOURS for hours in delays):
            raise ValueError(f"delays and lags are hours from 0 to {MOST_HOURS}")
        sizes = self.line_limit_mb, self.archive_ratio_limit, self.archive_limit_mb
        if min(*sizes, self.nesting_limit, self.batch_rows, self.max_text_characters) < 1:
            raise ValueError(
                "line_limit_mb, archive_ratio_limit, archive_limit_mb, nesting_limit, batch_rows, "
                "max_text_characters must be at least 1"
            )
