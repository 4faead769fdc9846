"""Units by UCUM codes, and values that no living patient can have.

`canonical_unit("MG/DL")` is "mg/dL", `canonical_unit("K/uL")` is "10*3/uL". Two spellings get one name only
where they mean exactly the same amount, so that no number has to be converted: ng/mL and ug/L do, mg/dL and
mmol/L do not, nor do U/L and IU/L. Capitals are taken for small letters only where one reading is possible:
MU is a milliunit or a million units. An unknown unit is None, never a guess. https://ucum.org/ucum
"""

import re
from functools import lru_cache
from itertools import product

# Symbols: base -> the prefixes it is used with in medicine, and how it is written. Mega stands where it is
# used, so that M and m are not taken for each other.
_SYMBOLS = {
    "g": (" kmunpf", "g gm"),
    "L": (" dcmunpf", "L l"),
    "mol": (" munpf", "mol"),
    "eq": (" mu", "eq Eq"),
    "osm": (" m", "osm Osm osmol Osmol"),
    "U": (" Mkmu", "U"),
    "[IU]": (" Mkmun", "[IU] [iU] IU iU UI IE"),
    "m": (" kdcmun", "m"),
    "s": (" mu", "s sec"),
    "Pa": (" khMm", "Pa"),
    "kat": (" mun", "kat"),
    "cal": (" k", "cal"),
    "J": (" kMm", "J"),
    "Hz": (" kMm", "Hz"),
    "Bq": (" kMm", "Bq"),
    "V": (" kmu", "V"),
    "W": (" km", "W"),
    "S": (" m", "S"),
    "mol/L": ("munp", "M"),  # molar
}
_PREFIX_NAMES = {
    "": "",
    "k": "kilo",
    "d": "deci",
    "c": "centi",
    "m": "milli",
    "u": "micro",
    "n": "nano",
    "p": "pico",
}
_NAMES = {  # words; case never matters, nor an s at the end
    "g": "gram gramm gramme gramo gm",
    "L": "liter litre litro ltr",
    "mol": "mol mole",
    "eq": "equivalent equiv",
    "osm": "osmol osmole",
    "U": "unit",
    "m": "meter metre",
    "s": "second sec sek sekunde",
}
_WORDS = {  # whole factors, without a prefix; case never matters
    "[IU]": "int_unit int_units intl_unit intl_units international_unit international_units i.u i.e",
    "min": "min mins minute minutes minuten minuto minutos",
    "h": "hr hrs hour hours stunde stunden hora horas heure heures 1h 1hr 1_h",
    "d": "day days 24h 24hr 24hrs 24_h 24_hr 24_hrs 24_hours 24.h tag tage dia jour",
    "wk": "wk wks week weeks woche wochen",
    "mo": "mo month months",
    "a": "yr yrs year years",
    "%": "% pct percent per_cent prozent",
    "mm[Hg]": "mm[hg] mmhg mm_hg mm(hg) mm_[hg] millimeters_of_mercury",
    "cm[H2O]": "cm[h2o] cmh2o cm_h2o cm(h2o) cmh20 cm_h20",
    "Cel": "cel °c degc deg_c deg._c degree_c degrees_c celsius degrees_celsius degree_celsius [degc] °_c ºc",
    "[degF]": "[degf] °f degf deg_f deg._f degree_f degrees_f fahrenheit degrees_fahrenheit °_f ºf",
    "[in_i]": "[in_i] in inch inches [in_us]",
    "[ft_i]": "[ft_i] ft foot feet",
    "[lb_av]": "[lb_av] lb lbs pound pounds",
    "[pH]": "[ph] ph ph_units",
    "[HPF]": "[hpf] hpf high_power_field",
    "[LPF]": "[lpf] lpf low_power_field",
    "[CFU]": "[cfu] cfu",
    "{copies}": "{copies} copies copy cp cop {copy}",
    "{1.73_m2}": "{1.73_m2} 1.73m2 1.73_m2 1.73sqm 1.73_sqm 1.73m^2 1.73_m^2 1.73_sq.m "
    "(1.73_m2) {1.73m2} [1.73_m2] {1.73_m^2} 1.73_sq_m",
    "m2": "m2 m^2 m*2 sqm sq_m sq.m",
    "cm2": "cm2 cm^2 cm*2 sqcm sq_cm",
    "{score}": "{score} score (score) scores {points} points",
    "{INR}": "{inr} inr (inr)",
    "{ratio}": "{ratio} ratio (ratio)",
    "{index}": "{index} index (index)",
    "{count}": "{count} count (count)",
    "{tablet}": "{tablet} tab tabs tablet tablets {tbl} tbl tablette tabletten",
    "{capsule}": "{capsule} cap caps capsule capsules kapsel kapseln",
    "{puff}": "{puff} puff puffs",
    "{patch}": "{patch} patch patches ptch",
    "{spray}": "{spray} spray sprays spry",
    "{dose}": "{dose} dose doses",
    "{suppository}": "{suppository} supp suppository suppositories",
    "[drp]": "[drp] drop drops gtt gtts tropfen",
    "uL": "mm3 mm^3 mm*3 cmm cumm cu_mm cu.mm mcl",
    "mL": "cc ccm cm3 cm^3 cm*3",
    "10*3": "k thou thous thousand thousands tsd 1000",
    "10*6": "mil mill million millions mio",
    "10*9": "gpt",
    "10*12": "tpt",
    "": "1 # {#} {cells} cells cell {cell} {beats} beats beat {beat} {breaths} breaths breath {breath} insp "
    "{insp} resp",
}
_WHOLE = {"bpm": "/min", "1": "1", "{1}": "1", "10*-2": "%"}
_LETTERS = {"h": "h", "d": "d", "a": "a", "C": "Cel", "F": "[degF]"}  # in this very spelling
_AFTER_A_SLASH = {"H": "h", "D": "d"}
_COUNTS = frozenset({"10*3", "10*6", "10*9", "10*12"})
_VOLUMES = frozenset({"uL", "mL", "L"})
# Two readings each: grams or giga, tera or tesla, metres or millions.
_AMBIGUOUS = frozenset({"G", "G/L", "G/l", "T/L", "T/l"})
_SAME = {  # exactly one amount, so that the number is the same in both
    "10*9/L": "10*3/uL",
    "10*6/mL": "10*3/uL",
    "10*12/L": "10*6/uL",
    "10*6/L": "/uL",
    "10*3/mL": "/uL",
    "ug/L": "ng/mL",
    "ng/L": "pg/mL",
    "ug/mL": "mg/L",
    "mg/mL": "g/L",
    "mU/mL": "U/L",
    "uU/mL": "mU/L",
    "m[IU]/mL": "[IU]/L",
    "u[IU]/mL": "m[IU]/L",
    "umol/mL": "mmol/L",
    "nmol/mL": "umol/L",
    "pmol/mL": "nmol/L",
    "ug/g": "mg/kg",
    "ug/mg": "mg/g",
}
_LAST = {**dict.fromkeys(("s", "min", "h", "d", "wk", "mo", "a"), 2), "kg": 0, "{1.73_m2}": 3}
_SIGNS = str.maketrans(
    {"µ": "u", "μ": "u", "\u00d7": "x", "²": "^2", "³": "^3", "⁶": "^6", "⁹": "^9", "·": ".", "\xa0": " "}
)
_POWER = re.compile(r"x?\s*10\s*(?:\*\*|\*|\^|e\+?|exp)?\s*\(?\s*\^?(3|6|9|12)\)?", re.IGNORECASE)
_PER = re.compile(r"(?:^|\s+)(?:per|pro|par|por|je)\s+", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_AROUND = re.compile(r"\s*/\s*")
_ANNOTATED = re.compile(r"([^{}]+)(\{[^{}]*\})")
_NOTE = re.compile(r"\{(?!1\.73_m2)[^{}]*\}")
_ANNOTATION = re.compile(r"\{[!-z|~]+\}")
LONGEST = 60  # characters; longer texts are no units


def _symbols() -> dict[str, str]:
    """Every prefix before every base, in its very spelling -> UCUM code."""
    found = {}
    for base, (prefixes, spellings) in _SYMBOLS.items():
        for prefix in prefixes:
            for written in spellings.split():
                for start in ("u", "mc") if prefix == "u" else (prefix.strip(),):
                    found[start + written] = prefix.strip() + base
    return found


def _without_case(exact: dict[str, str]) -> dict[str, str]:
    """Symbols in small letters that mean one unit only; then words, which win."""
    meanings: dict[str, set[str]] = {}
    for written, code in exact.items():
        meanings.setdefault(written.lower(), set()).add(code)
    return {written: codes.pop() for written, codes in meanings.items() if len(codes) == 1}


def _words() -> dict[str, str]:
    found = {word.replace("_", " "): code for code, words in _WORDS.items() for word in words.split()}
    found |= {word: code for code, words in _WORDS.items() for word in words.split() if word[0] in "{[("}
    for base, names in _NAMES.items():
        for prefix, name in product(_SYMBOLS[base][0], names.split()):
            start = _PREFIX_NAMES.get(prefix.strip())
            if start is not None:
                found[f"{start}{name}"] = found[f"{start}{name}s"] = prefix.strip() + base
    return found


_EXACT = _symbols()
_FOLDED = _without_case(_EXACT)
_SPELLED = _words()


def same_unit(first: str, second: str) -> str | None:
    """The more specific one of two UCUM codes that agree, None where they do not.

    Words in braces say what was counted, not how much: {INR} is 1, mg/g{creat} is mg/g. But a filtration
    rate per 1.73 m2 is not one per patient.
    """
    bare, other = _NOTE.sub("", first), _NOTE.sub("", second)
    if first == second or bare == other or {bare, other} == {"", "1"}:
        return max(first, second, key=lambda code: (code.count("{"), code))
    return None


@lru_cache(maxsize=20_000)
def canonical_unit(text: str) -> str | None:
    """Return a unit's UCUM code from any known spelling; else None."""
    plain = _SPACE.sub(" ", _AROUND.sub("/", _PER.sub("/", text.translate(_SIGNS)))).strip()
    if not plain or len(plain) > LONGEST or plain in _AMBIGUOUS:
        return None
    if (whole := _WHOLE.get(plain.lower())) is not None:
        return whole
    if _ANNOTATION.fullmatch(plain):
        return _SPELLED.get(plain.lower()) or plain
    above, *below = plain.split("/")
    numerator = _product(above, bool(below)) if above else []
    denominators = [_product(part, False, after_a_slash=True) for part in below]
    if numerator is None or any(not factors for factors in denominators):
        return None
    return _joined(numerator, [factor for factors in denominators for factor in factors or ()])


def _joined(numerator: list[str], denominator: list[str]) -> str | None:
    """One code of its factors; None where they make no sense together."""
    above = ".".join(factor for factor in numerator if factor)
    denominator = [factor for factor in denominator if factor]
    if not above and not denominator:
        return None
    if above in _COUNTS and (len(denominator) != 1 or denominator[0] not in _VOLUMES):
        return None
    if above == "m" and denominator[:1] and denominator[0] in _VOLUMES:
        return None  # m/uL: millions, as MIMIC writes them, or metres
    code = above + "".join(f"/{factor}" for factor in sorted(denominator, key=lambda f: _LAST.get(f, 1)))
    return _SAME.get(code, code)


def _product(text: str, before_a_slash: bool, after_a_slash: bool = False) -> list[str] | None:
    """The factors of one part of a unit, None where one is not understood."""
    whole = _factor(text, before_a_slash, after_a_slash)
    if whole is not None:
        return [whole]
    inside = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    factors = [_factor(part, before_a_slash, after_a_slash) for part in inside.rstrip(".").split(".")]
    known = [factor for factor in factors if factor is not None]
    return known if len(known) == len(factors) else None


def _factor(text: str, before_a_slash: bool, after_a_slash: bool) -> str | None:
    """The code of one factor, "" where it is a plain number of things, None where it is not understood."""
    text = text.strip().rstrip(".").strip()
    if text == "M":
        return "10*6" if before_a_slash else None
    if text in _EXACT or text in _LETTERS:
        return None if _milli_or_mega(text) else _EXACT.get(text) or _LETTERS[text]
    if after_a_slash and text in _AFTER_A_SLASH:
        return _AFTER_A_SLASH[text]
    folded = text.lower()
    if (power := _POWER.fullmatch(text)) is not None:
        return f"10*{power[1]}"
    if folded in _SPELLED:
        return _SPELLED[folded]
    if folded in _FOLDED and (text[0] != "M" or text.isupper()):  # Mg may be a megagram
        return _FOLDED[folded]
    annotated = _ANNOTATED.fullmatch(text)
    if annotated is None:
        return None
    base = _factor(annotated[1], before_a_slash, after_a_slash)
    note = "" if _SPELLED.get(annotated[2].lower()) == "" else annotated[2]
    return None if base is None else base + note


def _milli_or_mega(text: str) -> bool:
    """MU and MIU: all capitals, so that M may stand for either."""
    return len(text) > 1 and text[0] == "M" and text.isupper()


# Wide limits of measurements, by code and UCUM unit: they find slipped decimal points, swapped fields and
# wrong units. A value outside is kept and counted, never changed.

Limits = dict[str, tuple[float, float]]  # unit -> lowest and highest possible

_PRESSURE: Limits = {"mm[Hg]": (0, 400)}
_SATURATION: Limits = {"%": (0, 100)}
_TEMPERATURE: Limits = {"Cel": (10, 50), "[degF]": (50, 122)}
_GLUCOSE: Limits = {"mg/dL": (0, 5000), "mmol/L": (0, 280)}
_WEIGHT: Limits = {"kg": (0.2, 700), "g": (200, 700_000), "[lb_av]": (0.4, 1550)}
_HEIGHT: Limits = {"cm": (15, 280), "m": (0.15, 2.8), "[in_i]": (6, 110)}
_BLOOD_COUNT: Limits = {"10*3/uL": (0, 3000)}

_BY_UNIT: dict[str, Limits] = {
    "LOINC//8867-4": {"/min": (0, 500)},  # heart rate
    "LOINC//9279-1": {"/min": (0, 200)},  # respiratory rate
    "LOINC//8480-6": _PRESSURE,  # systolic
    "LOINC//8462-4": _PRESSURE,  # diastolic
    "LOINC//8478-0": _PRESSURE,  # mean
    "LOINC//59408-5": _SATURATION,
    "LOINC//2708-6": _SATURATION,
    "LOINC//3150-6": _SATURATION,  # inhaled oxygen
    "LOINC//8310-5": _TEMPERATURE,
    "LOINC//8329-5": _TEMPERATURE,
    "LOINC//8331-1": _TEMPERATURE,
    "LOINC//29463-7": _WEIGHT,
    "LOINC//3141-9": _WEIGHT,
    "LOINC//8302-2": _HEIGHT,
    "LOINC//3137-7": _HEIGHT,
    "LOINC//39156-5": {"kg/m2": (3, 300)},  # body mass index
    "LOINC//9269-2": {"": (3, 15), "{score}": (3, 15)},  # Glasgow coma score
    "LOINC//2345-7": _GLUCOSE,
    "LOINC//2339-0": _GLUCOSE,
    "LOINC//41653-7": _GLUCOSE,
    "LOINC//2951-2": {"mmol/L": (50, 250), "meq/L": (50, 250)},  # sodium
    "LOINC//2947-0": {"mmol/L": (50, 250), "meq/L": (50, 250)},
    "LOINC//2823-3": {"mmol/L": (0.5, 20), "meq/L": (0.5, 20)},  # potassium
    "LOINC//6298-4": {"mmol/L": (0.5, 20), "meq/L": (0.5, 20)},
    "LOINC//2075-0": {"mmol/L": (30, 220), "meq/L": (30, 220)},  # chloride
    "LOINC//2160-0": {"mg/dL": (0, 100), "umol/L": (0, 9000)},  # creatinine
    "LOINC//38483-4": {"mg/dL": (0, 100), "umol/L": (0, 9000)},
    "LOINC//3094-0": {"mg/dL": (0, 500)},  # urea nitrogen
    "LOINC//718-7": {"g/dL": (0, 30), "g/L": (0, 300), "mmol/L": (0, 19)},  # haemoglobin
    "LOINC//4544-3": {"%": (0, 90)},  # haematocrit
    "LOINC//20570-8": {"%": (0, 90)},
    "LOINC//6690-2": _BLOOD_COUNT,
    "LOINC//26464-8": _BLOOD_COUNT,
    "LOINC//777-3": {"10*3/uL": (0, 10_000)},
    "LOINC//26515-7": {"10*3/uL": (0, 10_000)},
    "LOINC//2744-1": {"": (6.0, 8.5), "[pH]": (6.0, 8.5)},  # pH of arterial blood
    "LOINC//11558-4": {"": (6.0, 8.5), "[pH]": (6.0, 8.5)},
    "LOINC//4548-4": {"%": (0, 30)},  # haemoglobin A1c
    "LOINC//2524-7": {"mmol/L": (0, 60), "mg/dL": (0, 540)},  # lactate
    "LOINC//32693-4": {"mmol/L": (0, 60)},
    "LOINC//1751-7": {"g/dL": (0, 15), "g/L": (0, 150)},  # albumin
    "LOINC//1975-2": {"mg/dL": (0, 120), "umol/L": (0, 2000)},  # bilirubin
}


ANYTHING = (float("-inf"), float("inf"))  # in a unit that has no limits


def _with_unitless(limits: Limits) -> dict[str | None, tuple[float, float]]:
    """The limits by unit; a number without a unit is judged by the widest of them."""
    lows, highs = zip(*limits.values(), strict=True)
    found: dict[str | None, tuple[float, float]] = {None: (min(lows), max(highs))}
    found.update(limits)
    return found


LIMITS = {code: _with_unitless(limits) for code, limits in _BY_UNIT.items()}
