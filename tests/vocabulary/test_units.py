"""Spellings of units: which are one unit, which are not, and which nobody can tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.vocabulary.units import ANYTHING, LIMITS, canonical_unit, same_unit

ONE_UNIT = {
    "mg/dL": ["mg/dl", "MG/DL", "mg / dL", "milligrams per deciliter", "mg/dL.", "mg/(dL)"],
    "mmol/L": ["mmol/l", "MMOL/L", "Millimol pro Liter", "mM", "umol/mL"],
    "10*3/uL": [
        *("K/uL", "k/ul", "10^3/uL", "x10^3/uL", "10E3/uL", "X10(3)/MCL", "thousands/uL", "10*9/L", "K/mm3"),
        *("K/cumm", "x 10\u00b3/\u00b5L", "\u00d710\u2079/L", "1000/uL", "10*3{cells}/uL", "THOUS/UL"),
    ],
    "10*6/uL": ["M/uL", "M/UL", "mil/uL", "10^12/L", "million/mm3"],
    "/uL": ["cells/uL", "#/uL", "{cells}/uL", "/mm3", "per uL"],
    "meq/L": ["mEq/L", "MEQ/L", "mEq./L"],
    "U/L": ["u/l", "units/L", "mU/mL"],
    "[IU]/L": ["IU/L", "iu/l", "[iU]/L", "UI/L", "International Units/L"],
    "m[IU]/L": ["mIU/L", "uIU/mL", "u[IU]/mL"],
    "ng/mL": ["NG/ML", "ug/L", "mcg/L"],
    "pg/mL": ["PG/ML", "ng/L"],
    "mm[Hg]": ["mmHg", "mm Hg", "MMHG", "mm(Hg)"],
    "Cel": ["\u00b0C", "C", "deg C", "degrees Celsius"],
    "[degF]": ["F", "\u00b0F", "degF"],
    "/min": ["bpm", "beats/minute", "breaths/min", "{beats}/min", "1/min", "per minute"],
    "ug/kg/min": ["mcg/kg/min", "ug/(kg.min)", "mcg/min/kg"],
    "mL/min/{1.73_m2}": ["mL/min/1.73m2", "ml/min/1.73 m2", "mL/min/1.73m\u00b2"],
    "kg/m2": ["kg/m^2", "KG/M2", "kg/m\u00b2"],
    "mL": ["ml", "ML", "cc", "milliliters"],
    "ug": ["mcg", "\u00b5g", "MCG", "micrograms"],
    "U": ["units", "UNIT", "Units"],
    "s": ["sec", "SEC", "seconds"],
    "%": ["percent", "pct"],
    "/[HPF]": ["/hpf", "#/HPF", "per hpf"],
    "mL/h": ["mL/hr", "ml/hour", "ML/H"],
    "mg/d": ["mg/24hr", "mg/24 h", "mg/day"],
    "{score}": ["score", "(score)"],
}
APART = [
    "mg/dL",
    "mmol/L",
    "U/L",
    "[IU]/L",
    "mL/min",
    "mL/min/{1.73_m2}",
    "ng/mL{FEU}",
    "ng/mL",
    "meq/L",
    "mg/L",
]
UNKNOWN = [
    "MU",
    "MIU/L",
    "M",
    "MM",
    "MS",
    "G/L",
    "G",
    "m/uL",
    "Mg/dL",
    "Ml",
    "K",
    "10*3",
    "ng/mL FEU",
    "furlong",
]
NOTHING = ["", " ", "/", "//", ".", "mg//dL", "mg/", "/1", "/.", "/#", "cells", "x" * 100]


@pytest.mark.parametrize(("unit", "spellings"), ONE_UNIT.items())
def test_spellings_of_one_unit_have_one_name_b58(unit, spellings):
    assert {spelling: canonical_unit(spelling) for spelling in [unit, *spellings]} == dict.fromkeys(
        [unit, *spellings], unit
    )


def test_units_of_different_amounts_stay_apart():
    assert [canonical_unit(unit) for unit in APART] == APART


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_may_mean_two_units_is_unknown(text):
    assert canonical_unit(text) is None


@pytest.mark.parametrize("text", NOTHING)
def test_what_is_no_unit_is_unknown(text):
    assert canonical_unit(text) is None


@given(st.text(max_size=80))
def test_any_text_is_read_once_and_for_all(text):
    unit = canonical_unit(text)
    if unit is not None:
        assert unit
        assert canonical_unit(unit) == unit


@given(st.sampled_from([s for names in ONE_UNIT.values() for s in names]), st.sampled_from([" ", "  ", "\t"]))
def test_space_around_a_unit_changes_nothing(spelling, space):
    assert canonical_unit(space + spelling + space) == canonical_unit(spelling)


def test_words_in_braces_say_what_was_counted_and_not_how_much():
    assert same_unit("mg/g", "mg/g{creat}") == "mg/g{creat}"
    assert same_unit("1", "{INR}") == "{INR}"
    assert same_unit("mL/min", "mL/min/{1.73_m2}") is None
    assert same_unit("%", "1") is None
    assert same_unit("mg/dL", "mmol/L") is None


def test_limits_are_given_in_units_as_they_are_named():
    for limits in LIMITS.values():
        for unit, (low, high) in limits.items():
            assert low < high
            assert not unit or canonical_unit(unit) == unit
    assert LIMITS["LOINC//8310-5"].get("K", ANYTHING) == ANYTHING
