"""Notes on a dataset, from its manifest: unrecognised words, follow-up, warnings of the ingest."""

from collections.abc import Iterator, Mapping
from typing import Any

from chartscan.notes import Note, notes_in
from chartscan.store.dataset import Dataset

UNKNOWN_ABOVE = 0.05  # share of the records of a thing that tasks depend on
WORDS = 5  # named in a note


def dataset_notes(dataset: Dataset) -> list[Note]:
    """What whoever trains, predicts or evaluates on the dataset must know of it."""
    manifest = dataset.manifest
    warnings = manifest.get("accounting", {}).get("warnings", [])
    return [
        *_recognition(manifest.get("recognition") or {}),
        *_follow_up(dataset.follow_up),
        *(Note("ingest", str(text)) for text in warnings),
        *notes_in(manifest),
    ]


def _recognition(things: Mapping[str, Mapping[str, Any]]) -> Iterator[Note]:
    for thing, counts in things.items():
        unknown = counts.get("unknown", 0)
        total = unknown + counts.get("recognised", 0) + counts.get("mapped", 0)
        if total and unknown > UNKNOWN_ABOVE * total:
            words = [word for word in counts.get("words", []) if word["how"] == "unknown"][:WORDS]
            named = ", ".join(f"{word['word']} ({word['records']:,})" for word in words)
            yield Note(
                "unrecognised_words",
                f"{thing.replace('_', ' ')}: {unknown:,} of {total:,} records ({unknown / total:.1%}) have a "
                f"word that is not recognised: {named}. Say what they mean: chartscan ingest ... --site.",
            )


def _follow_up(rule: Mapping[str, Any]) -> Iterator[Note]:
    nothing = rule.get("rule") == "days_after_last_event" and not rule.get("days")
    if nothing or rule.get("rule") in (None, "unknown"):
        yield Note(
            "follow_up_not_known",
            "Nothing says how long subjects were followed. Outcomes that were not seen are unknown, unless a "
            "later record shows that none came. Tell it when ingesting: --follow-up-end or --follow-up-days.",
        )
