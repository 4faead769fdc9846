"""Times as real systems write them -> the one form that FHIR allows, where the meaning is certain.

Only forms that begin with the year of four digits, or spell the month, are read: `03/04/2024`, a year of two
digits and a plain number of seconds mean different things at different sites, so they are none.
"""

import calendar
import re

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DATES = (
    re.compile(r"(?P<y>\d{4})(?P<sep>[-/.])(?P<m>\d{1,2})(?P=sep)(?P<d>\d{1,2})", re.ASCII),
    re.compile(r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)(?=\d{6}(?!\d)|\D|$)", re.ASCII),
    re.compile(r"(?P<d>\d{1,2})[- ](?P<m>[A-Za-z]{3})[A-Za-z]*[- ](?P<y>\d{4})(?=\D|$)", re.ASCII),
)
_CLOCK = re.compile(
    r"[Tt ]? *(?P<h>\d{1,2}):(?P<min>\d\d)(?::(?P<s>\d\d)(?:[.,](?P<f>\d+))?)? *(?P<half>[AaPp][Mm])?"
    r"|[Tt ]?(?P<h2>\d\d)(?P<min2>\d\d)(?P<s2>\d\d)?(?:[.,](?P<f2>\d+))?",
    re.ASCII,
)
_ZONE = re.compile(
    r"(?:(?P<utc>Z|UTC|GMT)|(?P<sign>[+-])(?P<h>\d\d)(?::?(?P<min>\d\d))?)(?:\[[A-Za-z_/+-]+\])?",
    re.ASCII | re.IGNORECASE,
)


def mended(text: str) -> str | None:
    """`text` as a FHIR date or dateTime, or None where what it means is not certain."""
    text = text.strip()
    found = next(filter(None, (form.match(text) for form in _DATES)), None)
    if found is None:
        return None
    month = _MONTHS.get(found["m"].lower()) if found["m"].isalpha() else int(found["m"])
    if month is None:
        return None
    date = f"{found['y']}-{month:02d}-{int(found['d']):02d}"
    rest = text[found.end() :]
    if rest in ("", "T", "t"):
        return date
    clock = _CLOCK.match(rest)
    if clock is None:
        return None
    time, zone = _time(clock), _zone(rest[clock.end() :].strip())
    return None if time is None or zone is None else f"{date}T{time}{zone}"


def _time(clock: re.Match[str]) -> str | None:
    hour, minute, second, fraction = (clock[name] or clock[f"{name}2"] for name in ("h", "min", "s", "f"))
    if clock["half"]:
        if not 1 <= int(hour) <= 12:
            return None
        hour = str(int(hour) % 12 + 12 * (clock["half"].lower() == "pm"))
    return f"{int(hour):02d}:{minute}:{second or '00'}" + (f".{fraction}" if fraction else "")


def _zone(text: str) -> str | None:
    """The offset in the one form that FHIR knows, "" for none, None for what is no offset."""
    if not text:
        return ""
    found = _ZONE.fullmatch(text)
    if found is None:
        return None
    return "Z" if found["utc"] else f"{found['sign']}{found['h']}:{found['min'] or '00'}"
