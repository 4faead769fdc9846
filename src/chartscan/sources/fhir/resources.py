"""The resources of FHIR, as far as they are read: types, statuses and fields."""

from collections import Counter
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Raw, Struct

# The resource types of FHIR R4 (4.0.1). Any other type name may be record content, so it is never repeated.

_NAMES = """
Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent
Basic Binary BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam
CatalogEntry ChargeItem ChargeItemDefinition Claim ClaimResponse ClinicalImpression CodeSystem
Communication CommunicationRequest CompartmentDefinition Composition ConceptMap Condition Consent Contract
Coverage CoverageEligibilityRequest CoverageEligibilityResponse DetectedIssue Device DeviceDefinition
DeviceMetric DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference
EffectEvidenceSynthesis Encounter Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare
EventDefinition Evidence EvidenceVariable ExampleScenario ExplanationOfBenefit FamilyMemberHistory Flag
Goal GraphDefinition Group GuidanceResponse HealthcareService ImagingStudy Immunization
ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide InsurancePlan Invoice Library
Linkage List Location Measure MeasureReport Media Medication MedicationAdministration MedicationDispense
MedicationKnowledge MedicationRequest MedicationStatement MedicinalProduct MedicinalProductAuthorization
MedicinalProductContraindication MedicinalProductIndication MedicinalProductIngredient
MedicinalProductInteraction MedicinalProductManufactured MedicinalProductPackaged
MedicinalProductPharmaceutical MedicinalProductUndesirableEffect MessageDefinition MessageHeader
MolecularSequence NamingSystem NutritionOrder Observation ObservationDefinition OperationDefinition
OperationOutcome Organization OrganizationAffiliation Parameters Patient PaymentNotice
PaymentReconciliation Person PlanDefinition Practitioner PractitionerRole Procedure Provenance
Questionnaire QuestionnaireResponse RelatedPerson RequestGroup ResearchDefinition
ResearchElementDefinition ResearchStudy ResearchSubject RiskAssessment RiskEvidenceSynthesis Schedule
SearchParameter ServiceRequest Slot Specimen SpecimenDefinition StructureDefinition StructureMap
Subscription Substance SubstanceNucleicAcid SubstancePolymer SubstanceProtein
SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification SupplyDelivery SupplyRequest
Task TerminologyCapabilities TestReport TestScript ValueSet VerificationResult VisionPrescription
"""
R4 = frozenset(_NAMES.split())


_SPELLED = {"canceled": "cancelled", "enteredinerror": "entered-in-error", "in-error": "entered-in-error"}
_COMMON = ("completed", "entered-in-error", "on-hold", "stopped", "unknown")
KNOWN = {
    "Observation": {
        *("registered", "specimen-in-process", "preliminary", "final", "amended", "corrected", "appended"),
        *("cancelled", "entered-in-error", "unknown"),
    },
    "Encounter": {
        *("planned", "arrived", "triaged", "in-progress", "onleave", "on-hold", "finished", "discharged"),
        *("completed", "discontinued", "cancelled", "entered-in-error", "unknown"),
    },
    "MedicationRequest": {*_COMMON, "active", "cancelled", "draft", "ended"},
    "MedicationAdministration": {*_COMMON, "in-progress", "not-done"},
    "MedicationDispense": {*_COMMON, "in-progress", "cancelled", "declined", "preparation"},
    "MedicationStatement": {*_COMMON, "active", "intended", "not-taken", "recorded", "draft"},
}
INTENTS = {
    *(
        "proposal",
        "plan",
        "order",
        "original-order",
        "reflex-order",
        "filler-order",
        "instance-order",
        "option",
    ),
}


def status_of(kind: str, written: str | None, flags: Counter[str]) -> str:
    """Return the status without capitals and spaces, flagged if not one of the type."""
    status = fhir_word(written or "")
    if status and status not in KNOWN[kind]:
        flags["unknown_status"] += 1
    return status


@lru_cache(maxsize=1000)
def fhir_word(written: str) -> str:
    """A word as FHIR writes its codes: small letters and hyphens."""
    word = "-".join(written.lower().replace("_", " ").replace("-", " ").split())
    return _SPELLED.get(word, word)


# The parts of FHIR R4 resources that become events; other fields are skipped unread. Nothing here cycles, so
# `gc=False` is safe and doubles the speed. Each resource checks its own `resourceType`.


class Coding(Struct, gc=False):
    """A code with the system that gives it meaning."""

    system: str | None = None
    code: str | None = None
    display: str | None = None


class Concept(Struct, gc=False):
    """CodeableConcept."""

    coding: list[Coding] = []
    text: str | None = None


class StatusConcept(Concept, gc=False, kw_only=True):
    """A CodeableConcept, or a Coding that stands for one."""

    system: str | None = None
    code: str | None = None
    display: str | None = None


Status = StatusConcept | str | list[StatusConcept] | None  # a word alone in STU3, a concept in R4


class Reference(Struct, gc=False):
    """A link to another resource."""

    reference: str | None = None


class Period(Struct, gc=False):
    """Start and end of a span."""

    start: str | None = None
    end: str | None = None


class Quantity(Struct, gc=False):
    """A measured amount; the number stays as written, since some numbers fit no float."""

    value: Raw = Raw()
    comparator: str | None = None
    unit: str | None = None
    code: str | None = None  # of UCUM, or the site's own; its system is not needed to tell


class Identifier(Struct, gc=False):
    """A business identifier; its system tells what kind of thing it names."""

    system: str | None = None


class Meta(Struct, gc=False):
    """Version of a resource, and the marks that a server puts on it."""

    versionId: str | None = None
    lastUpdated: str | None = None
    source: str | None = None
    tag: tuple[Coding, ...] = ()
    security: tuple[Coding, ...] = ()


class Extension(Struct, gc=False):
    """An extension, as far as race and ethnicity need it."""

    url: str | None = None
    extension: list["Extension"] = []
    valueCoding: Coding | None = None


class ModifierExtension(Struct, gc=False):
    """Something that may turn the meaning of a record around."""

    url: str | None = None


class Resource(Struct, gc=False):
    """What every resource may carry."""

    modifierExtension: tuple[ModifierExtension, ...] | None = None  # may turn the meaning of the rest around


class NumberedIdentifier(Struct, gc=False):
    """A business identifier with its value, of any kind."""

    system: str | None = None
    value: Raw = Raw()


class HumanName(Struct, gc=False):
    """A name, as far as it distinguishes two people."""

    family: str | None = None
    text: str | None = None


class PatientLink(Struct, gc=False):
    """That another record is of the same person."""

    other: Reference | None = None
    type: str | None = None


class Patient(Resource, gc=False, kw_only=True, rename={"masked_death": "_deceasedDateTime"}):
    """A person."""

    resourceType: Literal["Patient"]
    id: str | None = None
    meta: Meta | None = None
    identifier: Raw = Raw()  # list[NumberedIdentifier], read where it can be
    name: Raw = Raw()  # list[HumanName], compared by its digest and never kept
    link: Raw = Raw()  # list[PatientLink]
    gender: str | None = None
    birthDate: str | None = None
    deceasedBoolean: bool | None = None
    deceasedDateTime: str | None = None
    masked_death: Raw = Raw()  # says that there is a time of death, and why it is not told
    extension: list[Extension] = []


class Disposition(Concept, gc=False, kw_only=True):
    """How a stay ended; some exports code it in an extension, or write a Coding."""

    extension: list[Extension] = []
    system: str | None = None
    code: str | None = None
    display: str | None = None


class Hospitalization(Struct, gc=False):
    """How a stay began and ended."""

    admitSource: Concept | None = None
    dischargeDisposition: Disposition | None = None


class CodeableReference(Struct, gc=False):
    """What R4 says by a reference, and R5 by one within another."""

    reference: str | Reference | None = None
    concept: Concept | None = None

    @property
    def target(self) -> str:
        """What the reference says, "" if nothing."""
        found = self.reference
        return (found.reference if isinstance(found, Reference) else found) or ""


class EncounterDiagnosis(Struct, gc=False):
    """That Conditions were found in an encounter: one in R4, any number in R5."""

    condition: CodeableReference | list[CodeableReference] | None = None


class EncounterClass(Concept, gc=False, kw_only=True):
    """A Coding, as in R4, or a CodeableConcept, as in R5."""

    system: str | None = None
    code: str | None = None
    display: str | None = None


WrittenClass = EncounterClass | list[EncounterClass] | str | None  # a word alone in DSTU2


class Encounter(Resource, gc=False, kw_only=True, rename={"class_": "class"}):
    """A visit or a stay. What R5 calls otherwise is read as R4 names it."""

    resourceType: Literal["Encounter"]
    id: str | None = None
    meta: Meta | None = None
    status: str | None = None
    class_: WrittenClass = None
    identifier: list[Identifier] = []
    subject: Reference | None = None
    patient: Reference | None = None  # in DSTU2
    partOf: Reference | None = None
    period: Period | None = None
    actualPeriod: Period | None = None
    priority: Concept | None = None
    hospitalization: Hospitalization | None = None
    admission: Hospitalization | None = None
    diagnosis: Raw = Raw()  # list[EncounterDiagnosis], read where it can be

    def __post_init__(self) -> None:
        self.subject = self.subject or self.patient
        if self.actualPeriod is not None:
            self.period = _both_periods(self.period, self.actualPeriod)
        if self.admission is not None:
            self.hospitalization = _both(self.hospitalization, self.admission)
        self.status = fhir_word(self.status) if self.status else None


def _both_periods(period: Period | None, other: Period) -> Period:
    """A period, with the times that only the `other` has."""
    return Period(period.start or other.start, period.end or other.end) if period else other


def _both(stay: Hospitalization | None, other: Hospitalization) -> Hospitalization:
    """What R4 and R5 say of one stay: all of it is evidence."""
    if stay is None:
        return other
    ends = [end for end in (stay.dischargeDisposition, other.dischargeDisposition) if end is not None]
    return Hospitalization(stay.admitSource or other.admitSource, _all_ends(ends))


def _all_ends(ends: list[Disposition]) -> Disposition | None:
    """One disposition with every coding and text of several, if there are any."""
    if len(ends) < 2:
        return ends[0] if ends else None
    return Disposition(
        coding=[
            *(coding for end in ends for coding in end.coding),
            *(Coding(end.system, end.code, end.display) for end in ends),
            *(Coding(display=end.text) for end in ends if end.text),
        ],
        extension=[extension for end in ends for extension in end.extension],
    )


class DiagnosisCoding(Coding, gc=False, kw_only=True):
    """A code of a diagnosis; in Germany an extension says how sure it is."""

    extension: Raw = Raw()  # list[Extension], read where it names the certainty


class DiagnosisConcept(Concept, gc=False, kw_only=True):
    """What a diagnosis is."""

    coding: list[DiagnosisCoding] = []  # type: ignore[assignment]
    extension: Raw = Raw()


class Condition(Resource, gc=False, kw_only=True):
    """A diagnosis or problem."""

    resourceType: Literal["Condition"]
    id: str | None = None
    meta: Meta | None = None
    clinicalStatus: Status = None
    verificationStatus: Status = None
    code: DiagnosisConcept | None = None
    subject: Reference | None = None
    encounter: Reference | None = None
    onsetDateTime: str | None = None
    onsetPeriod: Period | None = None
    recordedDate: str | None = None
    patient: Reference | None = None  # in DSTU2
    context: Reference | None = None  # in STU3
    assertedDate: str | None = None  # in STU3
    dateRecorded: str | None = None  # in DSTU2

    def __post_init__(self) -> None:
        self.subject = self.subject or self.patient
        self.encounter = self.encounter or self.context
        self.recordedDate = self.recordedDate or self.assertedDate or self.dateRecorded


class Procedure(Resource, gc=False, kw_only=True):
    """Something done to a patient."""

    resourceType: Literal["Procedure"]
    id: str | None = None
    meta: Meta | None = None
    status: str | None = None
    code: Concept | None = None
    subject: Reference | None = None
    encounter: Reference | None = None
    performedDateTime: str | None = None
    performedPeriod: Period | None = None
    occurrenceDateTime: str | None = None  # in R5
    occurrencePeriod: Period | None = None


class Value(Struct, gc=False):
    """value[x] of an Observation or a component; what comes again and again is left undecoded."""

    code: Raw = Raw()  # Concept, for CodeBook.raw
    valueQuantity: Quantity | None = None
    valueString: str | None = None
    valueCodeableConcept: Concept | None = None
    valueInteger: Raw = Raw()
    valueBoolean: bool | None = None
    valueDateTime: str | None = None
    valueTime: str | None = None
    valueRange: Raw = Raw()
    valueRatio: Raw = Raw()
    dataAbsentReason: Raw = Raw()
    # Of other versions of FHIR, or of none, as exports have them.
    valueInteger64: Raw = Raw()
    valueDecimal: Raw = Raw()
    valueUnsignedInt: Raw = Raw()
    valuePositiveInt: Raw = Raw()
    valueCoding: Raw = Raw()
    valueCode: Raw = Raw()
    valueDate: Raw = Raw()
    valueInstant: Raw = Raw()
    # Not read, but counted.
    valueSampledData: Raw = Raw()
    valuePeriod: Raw = Raw()
    valueAttachment: Raw = Raw()
    valueReference: Raw = Raw()


class Observation(Value, gc=False, kw_only=True):
    """A measurement or finding."""

    resourceType: Literal["Observation"]
    id: str | None = None
    meta: Meta | None = None
    status: str | None = None
    category: Raw = Raw()  # list[Concept]
    subject: Reference | None = None
    encounter: Reference | None = None
    effectiveDateTime: str | None = None
    effectiveInstant: str | None = None
    effectivePeriod: Period | None = None
    issued: str | None = None
    modifierExtension: tuple[ModifierExtension, ...] | None = None
    component: tuple[Value, ...] = ()  # where there is none, nothing is made


class Ingredient(Struct, gc=False):
    """What a Medication is made of."""

    itemCodeableConcept: Concept | None = None
    itemReference: Reference | None = None


class Contained(Struct, gc=False):
    """A resource inside another, as far as a Medication needs it."""

    id: str | None = None
    code: Concept | None = None
    ingredient: list[Ingredient] = []


class Medication(Resource, gc=False, kw_only=True):
    """A drug that others refer to."""

    resourceType: Literal["Medication"]
    id: str | None = None
    meta: Meta | None = None
    status: str | None = None
    code: Concept | None = None
    ingredient: list[Ingredient] = []
    contained: Raw = Raw()  # list[Contained], or anything else


class MedicationUse(Resource, gc=False):
    """What the four kinds of medication records share."""

    id: str | None = None
    meta: Meta | None = None
    status: str | None = None
    subject: Reference | None = None
    medicationCodeableConcept: Concept | None = None
    medicationReference: Reference | None = None
    medication: CodeableReference | None = None  # in R5
    contained: Raw = Raw()  # list[Contained], or anything else


class MedicationRequest(MedicationUse, gc=False, kw_only=True):
    """A prescription or order."""

    resourceType: Literal["MedicationRequest"]
    intent: str | None = None
    doNotPerform: bool | None = None
    encounter: Reference | None = None
    authoredOn: str | None = None
    dosageInstruction: Raw = Raw()  # counted, not read


class Dosage(Struct, gc=False):
    """The amount given, or how fast."""

    dose: Quantity | None = None
    rateQuantity: Quantity | None = None
    rateRatio: Raw = Raw()


class MedicationAdministration(MedicationUse, gc=False, kw_only=True):
    """A dose given."""

    resourceType: Literal["MedicationAdministration"]
    context: Reference | None = None
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    dosage: Dosage | None = None


class MedicationDispense(MedicationUse, gc=False, kw_only=True):
    """A drug handed over."""

    resourceType: Literal["MedicationDispense"]
    context: Reference | None = None
    quantity: Raw = Raw()  # counted, not read, as all below
    daysSupply: Raw = Raw()
    whenPrepared: str | None = None
    whenHandedOver: str | None = None
    dosageInstruction: Raw = Raw()


class MedicationStatement(MedicationUse, gc=False, kw_only=True):
    """A drug that somebody says is taken."""

    resourceType: Literal["MedicationStatement"]
    context: Reference | None = None
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    dateAsserted: str | None = None
    dosage: Raw = Raw()  # counted, not read


class Immunization(Resource, gc=False, kw_only=True):
    """A vaccination."""

    resourceType: Literal["Immunization"]
    id: str | None = None
    meta: Meta | None = None
    status: str | None = None
    vaccineCode: Concept | None = None
    patient: Reference | None = None
    encounter: Reference | None = None
    occurrenceDateTime: str | None = None
    recorded: str | None = None


class AllergyIntolerance(Resource, gc=False, kw_only=True):
    """An allergy."""

    resourceType: Literal["AllergyIntolerance"]
    id: str | None = None
    meta: Meta | None = None
    verificationStatus: Status = None
    code: Concept | None = None
    patient: Reference | None = None
    encounter: Reference | None = None
    onsetDateTime: str | None = None
    onsetPeriod: Period | None = None
    recordedDate: str | None = None


class Head(Struct, gc=False):
    """The type of any resource."""

    resourceType: str


TYPES = (
    Patient,
    Encounter,
    Medication,
    Observation,
    Condition,
    Procedure,
    MedicationRequest,
    MedicationAdministration,
    MedicationDispense,
    MedicationStatement,
    Immunization,
    AllergyIntolerance,
)
DECODERS = {kind.__name__: msgspec.json.Decoder(kind) for kind in TYPES}
REFERENCE_TYPES = ("Patient", "Encounter", "Medication")  # what others refer to; read before all else
