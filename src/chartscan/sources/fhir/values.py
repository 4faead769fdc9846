"""value[x] -> (number, text, unit, comparator), the four value columns of EVENTS.

A number that no float32 holds becomes null and is flagged; text that is a plain number, with or without a
comparator, becomes that number; everything else stays text. Narratives (over a length) are dropped.
"""

import re
from collections import Counter
from math import isfinite

import msgspec
from msgspec import Raw

from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.resources import Concept, Quantity, Value

Result = tuple[float | None, str | None, str | None, str | None]
NOTHING: Result = (None, None, None, None)
LARGEST = 3.4028234e38  # of float32
COMPARATORS = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "≤": "<=", "≥": ">="}
_NUMBER = re.compile(r"(<=|>=|<|>|≤|≥)?\s*([+-]?(?:\d+\.?\d*|\.\d+))", re.ASCII)


class _Range(msgspec.Struct, gc=False):
    low: Quantity | None = None
    high: Quantity | None = None


class _Ratio(msgspec.Struct, gc=False):
    numerator: Quantity | None = None
    denominator: Quantity | None = None


class ValueReader:
    """Reads results; `flags` counts what was odd about them."""

    def __init__(self, codes: CodeBook, max_text_characters: int):
        self.flags: Counter[str] = Counter()
        self._codes = codes
        self._longest = max_text_characters

    def read(self, value: Value) -> Result:
        """The value of an Observation or of one of its components."""
        if value.valueQuantity is not None:
            found = self.quantity(value.valueQuantity)
        elif value.valueString is not None:
            found = self._string(value.valueString)
        elif value.valueCodeableConcept is not None:
            found = None, self._coded(value.valueCodeableConcept), None, None
        else:
            found = self._rare(value)
        if found[0] is None and found[1] is None:
            self.flags["no_value"] += 1
        return found

    def quantity(self, quantity: Quantity) -> Result:
        """Number, unit and comparator; the unit as people read it, else its code."""
        unit, comparator = quantity.unit or quantity.code, quantity.comparator
        number = self._number(quantity.value)
        if comparator is None and type(number) is float:
            return number, None, unit, None
        if isinstance(number, str):  # a number written as text, against the standard
            number, text, _, written = self._string(number)
            return number, text, unit, COMPARATORS.get(comparator or "", written)
        return number, None, unit, COMPARATORS.get(comparator) if comparator and number is not None else None

    def _number(self, raw: Raw) -> float | str | None:
        """What was written: a number, or text, or null for nothing and for what no float32 holds."""
        try:
            number = float(raw)
        except ValueError:
            text = bytes(raw)[:1] == b'"'
            return str(msgspec.json.decode(raw)) if text else None
        if -LARGEST <= number <= LARGEST:
            return number
        self.flags["value_not_finite"] += 1
        return None

    def _string(self, text: str) -> Result:
        """A number with its comparator where the text is nothing else, or the text."""
        text = text.replace("\x00", "").strip()
        match = _NUMBER.fullmatch(text)
        if match is None:
            return None, self._short(text), None, None
        number = float(match[2])
        if not isfinite(number) or abs(number) > LARGEST:
            self.flags["value_not_finite"] += 1
            return NOTHING
        return number, None, None, COMPARATORS.get(match[1] or "")

    def _coded(self, concept: Concept) -> str | None:
        """The code of a coded result, or its words."""
        return self._codes.find(concept) or self._short((concept.text or "").replace("\x00", "").strip())

    def _rare(self, value: Value) -> Result:
        text = value.valueDateTime or value.valueTime
        if text:
            return None, self._short(text), None, None
        if value.valueBoolean is not None:
            return None, "true" if value.valueBoolean else "false", None, None
        if bytes(value.valueInteger):
            return self.quantity(Quantity(value.valueInteger))
        if bytes(value.valueRange):
            span = msgspec.json.decode(value.valueRange, type=_Range)
            return None, self._pair(span.low, span.high, "-"), _unit(span.low), None
        if bytes(value.valueRatio):
            ratio = msgspec.json.decode(value.valueRatio, type=_Ratio)
            return None, self._pair(ratio.numerator, ratio.denominator, ":"), None, None
        if bytes(value.valueSampledData) or bytes(value.valuePeriod):
            self.flags["value_kind_not_read"] += 1
        return NOTHING

    def _pair(self, first: Quantity | None, second: Quantity | None, between: str) -> str | None:
        numbers = [self._number(q.value) if q else None for q in (first, second)]
        written = ["" if n is None else f"{n:g}" if isinstance(n, float) else n for n in numbers]
        return between.join(written) if any(written) else None

    def _short(self, text: str) -> str | None:
        if len(text) > self._longest:
            self.flags["text_too_long"] += 1
            return None
        return text or None


def _unit(quantity: Quantity | None) -> str | None:
    return (quantity.unit or quantity.code) if quantity else None
