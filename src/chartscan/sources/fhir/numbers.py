"""Written numbers -> number and comparator, and what is odd about a number.

A text is a number only where it can be nothing else: "1,5", "1_000" and digits of other scripts stay text.
What is not understood is never read as an exact value. Knows no resource.
"""

import re
import struct
from decimal import Decimal
from typing import NamedTuple

from chartscan.vocabulary.units import canonical_unit

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
    """A text that is a number: as written, with the comparator ("" if exact) and the unit it carries."""

    number: str
    comparator: str
    unit: str | None


def comparator_of(written: str | None) -> str | None:
    """The comparator that a word stands for, "" where it says exact, None where it is not understood."""
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
    """ "sure" where an exact number surely stands for a missing value, "doubtful" where it may, else None.

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
