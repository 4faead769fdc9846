"""Whether a line would be used, asked before anything is remembered of it.

The first pass and the second must agree: a Patient or an Encounter that the second puts into quarantine may
not stand for its id. So the first pass tries the very mapper that will read the line, and forgets what it
gives.
"""

from typing import Any

import msgspec

from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.context import Context
from chartscan.sources.fhir.events import EventBuffer
from chartscan.sources.fhir.index import Index
from chartscan.sources.fhir.mappers import map_resource
from chartscan.sources.fhir.outcomes import NO_ID, Quarantined


class Judge:
    """Tries mappers in a context of its own, in which any patient may be referred to."""

    def __init__(self, config: Config):
        codes, lenient = CodeBook(config), msgspec.structs.replace(config, allow_missing=True)
        self._events = EventBuffer(lambda table, places: None, config.batch_rows)
        self._context = Context(lenient, Index(lenient, codes), codes, self._events)

    def __call__(self, kind: str, resource: Any) -> None:
        """Filtered or Quarantined where `resource`, of type `kind`, gives nothing."""
        if not resource.id:
            raise Quarantined(NO_ID)
        try:
            map_resource(kind, resource, self._context)
        finally:
            self._events.drop_after(0)
            self._context.placeholders.clear()
            self._context.flags.clear()
