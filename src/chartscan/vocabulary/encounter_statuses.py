"""What a site file may say that its own words for the status of an encounter mean: words of FHIR."""

MEANINGS = ("finished", "in-progress", "planned", "cancelled", "entered-in-error")
