"""FHIR's values -> numbers, texts and units of events, with an account."""

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from math import isfinite
from typing import NamedTuple

import msgspec
from msgspec import Raw

from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.remember import LIMIT
from chartscan.sources.fhir.resources import Coding, Concept, Dosage, Quantity, Value
from chartscan.store.accounting import Accounting, How
from chartscan.vocabulary.units import LONGEST, canonical_unit, same_unit

# A text is a number only where it can be nothing else: "1,5", "1_000" and digits of other scripts stay text.

LARGEST = 3.4028234e38  # of float32
SMALLEST = 7.1e-46  # what is nearer to zero becomes zero in float32
ORDINARY, FIRST_ODD = 1e-37, 999.0  # exact numbers between these are neither tiny nor sentinels

APPROXIMATE, SUFFICIENT = "ap", "ad"
_SPELLED = {  # in texts as well
    "<": "< &lt; \uff1c less_than below under fewer_than smaller_than kleiner kleiner_als",
    "<=": "<= ≤ ⩽ ≦ =< &lt;= <_or_= <or= </= at_most up_to not_more_than less_than_or_equal_to",
    ">": "> &gt; \uff1e more_than greater_than above over larger_than größer_als groesser_als",
    ">=": ">= ≥ ⩾ ≧ => &gt;= >_or_= >or= >/= at_least not_less_than greater_than_or_equal_to",
    APPROXIMATE: "~ ≈ about approx approx. approximately ca. circa",
    "": "= ==",
}
_CODES = {  # of FHIR, and short words, as a Quantity's comparator alone; "sa 5" in a text is something else
    "<": "lt eb less smaller",
    "<=": "le lte",
    ">": "gt sa more greater",
    ">=": "ge gte",
    APPROXIMATE: "ap",
    SUFFICIENT: "ad",
    "": "eq equal equals",
}


def _by_word(table: dict[str, str]) -> dict[str, str]:
    return {word.replace("_", " "): name for name, words in table.items() for word in words.split()}


_MINUS = str.maketrans("\u2212\u2010\u2011", "---")
_IN_TEXT = _by_word(_SPELLED)
COMPARATORS = _IN_TEXT | _by_word(_CODES)
_WORDS = "|".join(re.escape(word) for word in sorted(_IN_TEXT, key=len, reverse=True))
_NUMBER = re.compile(
    rf"({_WORDS})?\s*(-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{{1,4}})?)(?:\s*([^\d\s.,:'_+-].*))?",
    re.ASCII | re.IGNORECASE,
)
_LIKE_A_NUMBER = re.compile(r"[<>=≤≥~\s+-]*\d[\d\s.,'_\u066b\u066c]*")
_NO_NUMBER = frozenset({"nan", "inf", "infinity", "-inf", "-infinity", "+inf", "+infinity"})
_NOTHING = re.compile(r"[-\u2013\u2014.\s]*|#?n/a|\(?null\)?", re.IGNORECASE)
_INTEGER_LIMITS = frozenset({2147483647.0, 2147483648.0, 4294967295.0})
_BALANCES = frozenset({"mL", "L", "dL", "cL", "g", "kg"})  # what a patient gained or lost may be below zero
_SMALL_BALANCES = _BALANCES | {"mmol/L", "meq/L"}  # a base excess of -9 is an everyday result


class Parsed(NamedTuple):
    """A text that is a number: original, comparator ("" if exact), and unit."""

    number: str
    comparator: str
    unit: str | None


def comparator_of(written: str | None) -> str | None:
    """Return a word's comparator; "" for exact, None if unknown."""
    word = " ".join((written or "").split()).lower()
    return COMPARATORS.get(word) if word else ""


def parse(text: str) -> Parsed | None:
    """The number that a text is, None where it is anything else or may be."""
    found = _NUMBER.fullmatch(" ".join(text.translate(_MINUS).split()))
    if found is None:
        return None
    word, number, unit = found.groups()
    if unit is not None and not _is_certain(unit):
        return None
    return Parsed(number, COMPARATORS[word.lower()] if word else "", unit)


def _is_certain(unit: str) -> bool:
    """Whether what follows a number can only be its unit: "5 L" may be a low 5, "22/24 h" a fraction."""
    return (len(unit) > 1 or unit == "%") and not unit[1:2].isdigit() and canonical_unit(unit) is not None


def says_nothing(text: str) -> bool:
    """Whether a text is a mark for a missing value."""
    return _NOTHING.fullmatch(text) is not None


def looks_like_a_number(text: str) -> bool:
    """Whether a text that is no number for `parse` holds digits and separators only."""
    return _LIKE_A_NUMBER.fullmatch(text) is not None


def is_no_number(text: str) -> bool:
    """Whether a text is a program's word for no number."""
    return text.lower() in _NO_NUMBER


def beyond_float32(written: str, number: float) -> bool:
    """Whether a float32 cannot give back the decimal digits that were written."""
    mantissa = written.lower().partition("e")[0]
    digits = mantissa.replace(".", "").lstrip("+-0")
    if len(digits) <= 6:
        return False
    stored = struct.unpack("f", struct.pack("f", number))[0]
    if len(digits) > 9:
        return stored != number or Decimal(written) != Decimal(stored)
    return float(f"{stored:.{len(digits)}g}") != number


def sentinel(number: float, unit: str | None) -> str | None:
    """Return "sure" or "doubtful" where a number may mean missing, else None.

    Sure: six nines or more before the point and no other digit, the limits of 32-bit integers, and three
    nines or more below zero, but as a volume or weight (a balance of fluids). Doubtful: 999, 9999, 99999,
    such balances, and -9 and -99 where no balance or base excess can be that.
    """
    size = abs(number)
    if size in _INTEGER_LIMITS:
        return "sure"
    whole, _, part = f"{size:.12g}".partition(".")
    if set(whole + part) != {"9"}:
        return None
    if len(whole) >= 6 or (number < 0 and len(whole) >= 3 and unit not in _BALANCES):
        return "sure"
    if len(whole) >= 3 or (number < 0 and not part and unit not in _SMALL_BALANCES):
        return "doubtful"
    return None


# A Quantity's `unit` (for people) and `code` (for programs) may disagree. Then the event keeps both, as a
# unit of its own, and is counted.

UNIFIED, CONFLICT, UNKNOWN = "unit_unified", "unit_conflict", "unit_unknown"
_Key = tuple[str | None, str | None]  # unit and code of a Quantity


class Reading(NamedTuple):
    """The unit of events, and how it was found: recognised, mapped, unknown or not said."""

    unit: str | None
    how: How
    flag: str | None = None


class Counted:
    """A unit as met in the export; `records` grows with every use."""

    __slots__ = ("reading", "records", "unit")

    def __init__(self, reading: Reading):
        self.reading = reading
        self.unit = reading.unit
        self.records = 0


class UnitReader:
    """Reads units; the site's `words` (`unit`, or `unit|code`) come first."""

    def __init__(self, words: Mapping[str, str]):
        self._words = {_folded(word): canonical_unit(unit) or unit for word, unit in words.items()}
        self.met: dict[_Key, Counted] = {}  # by unit and code as written; cleared when full, never replaced
        self._account: Counter[tuple[str, Reading]] = Counter()

    def find(self, key: _Key) -> Counted:
        """The unit that (unit, code) stand for; add to its `records` when it is used."""
        found = self.met.get(key)
        if found is not None:
            return found
        if len(self.met) >= LIMIT:
            self._settle()
        found = self.met[key] = Counted(self._read(*key))
        return found

    def _read(self, unit: str | None, code: str | None) -> Reading:
        unit, code = _plain(unit), _plain(code)
        if not unit and not code:
            return Reading(None, "not said")
        if not unit or not code or _folded(unit) == _folded(code):
            return self._single(unit or code)
        if (mapped := self._words.get(f"{unit}|{code}")) is not None:  # a conflict that the site resolved
            return Reading(mapped, "mapped", UNIFIED)
        return self._pair(unit, code)

    def _single(self, word: str) -> Reading:
        meaning, how = self._meaning(word)
        if meaning is None:
            return Reading(word, how, UNKNOWN)
        return Reading(meaning, how, UNIFIED if meaning != word else None)

    def _pair(self, unit: str, code: str) -> Reading:
        """Where unit and code are written differently."""
        said, how = self._meaning(unit)
        coded, how_coded = self._meaning(code)
        if said is not None and coded is not None:
            both = same_unit(said, coded)
            if both is not None:
                how = "mapped" if "mapped" in (how, how_coded) else "recognised"
                return Reading(both, how, UNIFIED if both != unit else None)
            return Reading(f"{said}|{coded}", "unknown", CONFLICT)
        if coded is not None:  # words that are not understood, with a code that is
            return Reading(coded, how_coded, UNIFIED)
        if said is not None and not code.isdigit():  # it may say something else
            return Reading(f"{said}|{code}", "unknown", CONFLICT)
        if said is not None:  # a number names a unit in SNOMED or at the site, so the words are all there is
            return Reading(said, how, UNIFIED if said != unit else None)
        return Reading(unit, "unknown", UNKNOWN)

    def _meaning(self, word: str) -> tuple[str | None, How]:
        mapped = self._words.get(_folded(word))
        if mapped is not None:
            return mapped, "mapped"
        meaning = canonical_unit(word)
        return meaning, "unknown" if meaning is None else "recognised"

    def flags(self) -> Counter[str]:
        """Records whose unit was unified, contradicts itself or is unknown."""
        self._settle()
        found: Counter[str] = Counter()
        for (_, reading), records in self._account.items():
            if reading.flag:
                found[reading.flag] += records
        return found

    def account(self) -> Iterator[tuple[str, str | None, How, int]]:
        """(word, unit, how, records) of every spelling that was met."""
        self._settle()
        for (word, reading), records in self._account.items():
            yield word, reading.unit if reading.how != "unknown" else None, reading.how, records

    def _settle(self) -> None:
        """Add what was counted to the account, and start anew."""
        for (unit, code), counted in self.met.items():
            unit, code = _plain(unit), _plain(code)
            word = f"{unit}|{code}" if unit and code and unit != code else unit or code
            if counted.records:
                self._account[word, counted.reading] += counted.records
        self.met.clear()


def _plain(text: str | None) -> str:
    """A unit as written, without what cannot be seen; a narrative is cut."""
    return " ".join((text or "").replace("\x00", "").split())[:LONGEST]


def _folded(word: str) -> str:
    return " ".join(word.split())


# value[x] -> (number, text, unit, comparator). A number needs an exact value, or a bound with its comparator;
# everything else stays text, or becomes null and is counted.

Result = tuple[float | None, str | None, str | None, str | None]
NOTHING: Result = (None, None, None, None)
NOT_READ = ("valueSampledData", "valuePeriod", "valueAttachment", "valueReference")
_NUMBERS = ("valueInteger", "valueInteger64", "valueDecimal", "valueUnsignedInt", "valuePositiveInt")
_TEXTS = ("valueCode", "valueDate", "valueInstant")
_RAW = (*_NUMBERS, "valueRange", "valueRatio", *_TEXTS, "valueCoding", *NOT_READ)


class _Range(msgspec.Struct, gc=False):
    low: Quantity | None = None
    high: Quantity | None = None


class _Ratio(msgspec.Struct, gc=False):
    """Two amounts, as a titre or a rate."""

    numerator: Quantity | None = None
    denominator: Quantity | None = None


class ValueReader:
    """Reads results; `units` are the site's own words for units.

    `flags` counts what was odd about results, `normalised` what is kept in another form or with less detail.
    """

    def __init__(self, codes: CodeBook, max_text_characters: int, units: Mapping[str, str] | None = None):
        self.flags: Counter[str] = Counter()
        self.normalised: Counter[str] = Counter()
        self.units = UnitReader(units or {})
        self._met = self.units.met
        self._codes = codes
        self._longest = max_text_characters

    def read(self, value: Value) -> Result:
        """The value of an Observation or of one of its components."""
        quantity = value.valueQuantity
        if quantity is not None:
            if value.valueString is not None or value.valueCodeableConcept is not None:
                self.flags["several_values"] += 1  # the first in the order of this function is taken
            # Nearly always an ordinary number in a unit met before: read at once, since this is the busiest
            # place of all. Three decimals below 1,000 are no more digits than a float32 holds.
            unit = self._met.get((quantity.unit, quantity.code))
            if unit is not None and quantity.comparator is None:
                try:
                    number = float(quantity.value)
                except ValueError:
                    number = 0.0
                if ORDINARY < number < FIRST_ODD and number * 1000.0 % 1.0 == 0.0:
                    unit.records += 1
                    return number, None, unit.unit, None
            result = self.quantity(quantity)
        elif value.valueString is not None:
            result = self.text(value.valueString)
        elif value.valueCodeableConcept is not None:
            result = None, self._coded(value.valueCodeableConcept), None, None
        else:
            result = self._rare(value)
        if not is_value(result):
            self.flags["no_value"] += 1
            if is_given(value.dataAbsentReason):
                self.flags["data_absent_reason"] += 1
        return result

    def finish(self, accounting: Accounting) -> None:
        """Hand over normalisations and readings of units; add oddities to `flags`."""
        recognise = accounting.recognition.recognise
        for word, unit, how, records in self.units.account():
            recognise("unit", word, unit, how, records, text=how == "unknown" and " " in word)
        units = self.units.flags()
        self.normalised[UNIFIED] += units.pop(UNIFIED, 0)
        self.flags.update(units)
        for name, count in self.normalised.items():
            if count:
                accounting.normalised(name, count)

    def is_given(self, value: Value) -> bool:
        """Whether there is a value, of any kind."""
        if value.valueQuantity or value.valueString or value.valueCodeableConcept:
            return True
        if value.valueDateTime or value.valueTime or value.valueBoolean is not None:
            return True
        return any(is_given(getattr(value, name)) for name in _RAW)

    def quantity(self, quantity: Quantity) -> Result:
        """Number, unit and comparator. Text where the number or its comparator is not understood."""
        written = bytes(quantity.value)
        unit = self.units.find((quantity.unit, quantity.code))
        unit.records += 1
        try:
            number = float(written)
        except ValueError:  # no number at all, or one written as text
            return self._textual(written, unit.unit, quantity.comparator)
        return self._number(number, written.decode(), unit.unit, comparator_of(quantity.comparator), quantity)

    def _number(
        self, number: float, written: str, unit: str | None, comparator: str | None, quantity: Quantity | None
    ) -> Result:
        """A number after all checks; `comparator` is "" for an exact one and None for one not understood."""
        if comparator is None:
            self.flags["unknown_comparator"] += 1
            said = (quantity.comparator if quantity else None) or ""
            return None, self._short(f"{said.strip()}{written}"), unit, None
        if not isfinite(number) or abs(number) > LARGEST or 0 < abs(number) < SMALLEST:
            self.flags["value_not_finite"] += 1
            return None, None, unit, None
        if beyond_float32(written, number):
            self.normalised["decimal_beyond_float32"] += 1
        if not comparator and (found := sentinel(number, unit)):
            self.flags["sentinel_value"] += 1
            if found == "sure":
                return None, None, unit, None
        if number == 0 and written.startswith("-"):
            self.flags["negative_zero"] += 1
        return number + 0.0, None, unit, comparator or None  # -0.0 + 0.0 is 0.0

    def _textual(self, raw: bytes, unit: str | None, comparator: str | None) -> Result:
        """A Quantity whose value is a text, against the standard, or missing."""
        if raw[:1] != b'"':
            return None, None, unit, None
        text = _clean(msgspec.json.decode(raw))
        parsed, outer = parse(text), comparator_of(comparator)
        if parsed is None or outer is None or (outer and parsed.comparator not in ("", outer)):
            self.flags["unknown_comparator"] += outer is None or parsed is not None
            said = "" if outer == "" else (comparator or "").strip()
            return None, self._words(f"{said}{text}" if text else ""), unit, None
        if parsed.unit is not None and unit is not None and self._unit(parsed.unit) != unit:
            self.flags["unit_conflict"] += 1
            return None, self._short(text), unit, None
        return self._parsed(parsed._replace(comparator=outer or parsed.comparator), unit)

    def _parsed(self, parsed: Parsed, unit: str | None) -> Result:
        unit = unit if parsed.unit is None else self._unit(parsed.unit)
        return self._number(float(parsed.number), parsed.number, unit, parsed.comparator, None)

    def _unit(self, written: str) -> str | None:
        counted = self.units.find((written, None))
        counted.records += 1
        return counted.unit

    def text(self, text: str) -> Result:
        """Return a number, comparator and unit if the text is only that, else text."""
        text = _clean(text)
        parsed = parse(text) if len(text) <= self._longest else None
        return self._parsed(parsed, None) if parsed else (None, self._words(text), None, None)

    def _words(self, text: str) -> str | None:
        """A text that is no number; None where it only says that nothing is there."""
        if says_nothing(text):
            return None
        if is_no_number(text):
            self.flags["value_not_finite"] += 1
        elif len(text) <= self._longest and looks_like_a_number(text):
            self.flags["number_left_as_text"] += 1
        return self._short(text)

    def _coded(self, concept: Concept) -> str | None:
        """The code of a coded result, or its words, or what its coding displays where that has no code."""
        code = self._codes.find(concept)
        words = concept.text or next((c.display for c in concept.coding if c.display and not c.code), None)
        return code or self._short(_clean(words or ""))

    def _rare(self, value: Value) -> Result:
        text = value.valueDateTime or value.valueTime
        if text:
            return None, self._short(_clean(text)), None, None
        if value.valueBoolean is not None:
            return None, "true" if value.valueBoolean else "false", None, None
        for names, reader in self._readers():
            for name in names:
                raw = getattr(value, name)
                if is_given(raw):
                    return reader(raw)
        self.flags["value_kind_not_read"] += any(is_given(getattr(value, n)) for n in NOT_READ)
        return NOTHING

    def _readers(self) -> Iterator[tuple[tuple[str, ...], Callable[[Raw], Result]]]:
        yield _NUMBERS, lambda raw: self.quantity(Quantity(raw))
        yield ("valueRange",), self._range
        yield ("valueRatio",), lambda raw: self._ratio(*self._sides(msgspec.json.decode(raw, type=_Ratio)))
        yield _TEXTS, lambda raw: (None, self._short(_clean(msgspec.json.decode(raw, type=str))), None, None)
        yield ("valueCoding",), self._coding

    def _coding(self, raw: Raw) -> Result:
        return None, self._coded(Concept([msgspec.json.decode(raw, type=Coding)])), None, None

    def _range(self, raw: Raw) -> Result:
        """A bound with its comparator where one side is given (both ends belong to a Range), else text."""
        span = msgspec.json.decode(raw, type=_Range)
        low, high = self._side(span.low), self._side(span.high)
        for side, comparator, others in ((low, ">=", high), (high, "<=", low)):
            if side is not None and others is None:
                number, text, unit, own = side
                if own is None and number is not None:
                    return number, text, unit, comparator
                return None, f"{comparator}{_told(side)}", unit, None
        if low is None or high is None:
            return NOTHING
        units = {side[2] for side in (low, high)} - {None}
        if len(units) > 1:
            self.flags["unit_conflict"] += 1
            return None, self._short(f"{_with_unit(low)}-{_with_unit(high)}"), None, None
        between = " to " if "-" in _told(low) + _told(high) else "-"
        return None, self._short(f"{_told(low)}{between}{_told(high)}"), next(iter(units), None), None

    def _ratio(self, *sides: Result | None) -> Result:
        """Both sides as text, with their comparators and units: `<1:10`, `1 mg:100 mL`."""
        if not any(sides):
            return NOTHING
        return None, self._short(":".join(_with_unit(side) if side else "" for side in sides)), None, None

    def _sides(self, ratio: _Ratio) -> tuple[Result | None, Result | None]:
        return self._side(ratio.numerator), self._side(ratio.denominator)

    def rate(self, dosage: Dosage) -> Result:
        """Return a drug's rate as a number with a unit, or as text.

        `5 mL/h` stays as it is, `10 mg` in `1 h` is 10 mg/h, and `10 mg:24 h` stays a text.
        """
        if dosage.rateQuantity is not None:
            return self.quantity(dosage.rateQuantity)
        above, below = self._sides(msgspec.json.decode(dosage.rateRatio, type=_Ratio))
        if above and below and below[0] == 1 and below[3] is None and above[0] is not None:
            unit = f"{above[2] or ''}/{below[2]}" if below[2] else above[2]
            return above[0], None, self._unit(unit) if unit else None, above[3]
        return self._ratio(above, below)

    def _side(self, quantity: Quantity | None) -> Result | None:
        """One side of a range or a ratio; None where it holds neither a number nor a text."""
        result = self.quantity(quantity) if quantity else NOTHING
        return result if is_value(result) else None

    def _short(self, text: str) -> str | None:
        if len(text) > self._longest:
            self.flags["text_too_long"] += 1
            return None
        return text or None


def is_given(raw: Raw) -> bool:
    """Whether an undecoded field is there, and not null."""
    return bytes(raw) not in (b"", b"null")


def _clean(text: str) -> str:
    return text.replace("\x00", "").strip()


def is_value(result: Result) -> bool:
    """Whether there is a number or a text."""
    return result[0] is not None or result[1] is not None


def _told(side: Result) -> str:
    number, text, _, comparator = side
    return text or f"{comparator or ''}{number:.12g}"


def _with_unit(side: Result) -> str:
    return f"{_told(side)} {side[2]}" if side[2] else _told(side)
