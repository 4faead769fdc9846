"""Values of results and doses: what becomes a number, what stays text, what is null, and what is counted."""

import json
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chartscan.site import Vocabulary
from chartscan.sources.fhir.codes import CodeBook
from chartscan.sources.fhir.config import Config
from chartscan.sources.fhir.values import COMPARATORS, UnitReader, ValueReader, parse
from fhir_export import LOINC, Result, concept, ingest_lines, observation, resource

VALUE_COLUMNS = ("numeric_value", "text_value", "unit", "comparator")


def of(event):
    return tuple(event[name] for name in VALUE_COLUMNS)


def value_of(tmp_path, **fields):
    """The value columns of one Observation, and all counters."""
    result = ingest_lines(tmp_path, observation(**fields))
    return of(result.one("observation")), counted(result)


def counted(result: Result) -> dict[str, int]:
    return result.accounting["flagged"] | result.accounting["normalised"]


def quantity(value, **fields):
    return {"valueQuantity": {"value": value, "unit": "mg/dL"} | fields}


def near(number):
    return None if number is None else pytest.approx(number, rel=1e-6)


# Comparators


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        *[(c, c) for c in ("<", "<=", ">=", ">", "ad", "ap")],
        *[("sa", ">"), ("eb", "<"), (" >= ", ">="), ("\u2264", "<="), ("\u2265", ">="), ("&lt;", "<")],
        *[("less than", "<"), ("GE", ">="), ("At  least", ">="), ("=", None), ("", None), (" ", None)],
    ],
)
def test_every_comparator_of_fhir_and_its_spellings_are_understood_b56(tmp_path, written, expected):
    found, _ = value_of(tmp_path, **quantity(5, comparator=written))
    assert found == (5.0, None, "mg/dL", expected)


@pytest.mark.parametrize("comparator", ["<>", "!=", "??", "lessish", "><", "\u0664", "not"])
@pytest.mark.parametrize("value", [23, "23", "<23"])
def test_a_comparator_that_is_not_understood_leaves_no_number_b56(tmp_path, comparator, value):
    found, counts = value_of(tmp_path, **quantity(value, comparator=comparator))
    assert found == (None, f"{comparator}{value}", "mg/dL", None)
    assert counts["unknown_comparator"] == 1


def test_a_text_and_a_comparator_that_contradict_each_other_leave_no_number(tmp_path):
    found, counts = value_of(tmp_path, **quantity("<5", comparator=">"))
    assert found == (None, "><5", "mg/dL", None)
    assert counts["unknown_comparator"] == 1


# Texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (">100", (100, None, None, ">")),
        ("< 0.01", (0.01, None, None, "<")),
        ("\u22655", (5, None, None, ">=")),
        ("> OR = 60", (60, None, None, ">=")),
        ("less than 5", (5, None, None, "<")),
        ("~5", (5, None, None, "ap")),
        (">100 mg/dL", (100, None, "mg/dL", ">")),
        ("98 %", (98, None, "%", None)),
        ("\u22125", (-5, None, None, None)),
        ("1e5", (1e5, None, None, None)),
        *[
            (t, (None, t, None, None))
            for t in ("1+", "+1", "NEG", "TRACE", "Hemolyzed", "3-5", "1:80", "<1:10")
        ],
        *[
            (t, (None, t, None, None))
            for t in (
                "5 L",
                "5 H",
                "5*",
                ">5+",
                "120/80",
                "sa 5",
                "10^5",
                "5 furlong",
                "22/1.",
                "22/.",
                "/22.",
                "5/24h",
            )
        ],
    ],
)
def test_a_text_is_a_number_only_where_it_can_be_nothing_else_b56(tmp_path, text, expected):
    found, _ = value_of(tmp_path, valueString=text)
    assert found == (near(expected[0]), *expected[1:])


@pytest.mark.parametrize(
    "text", ["12 ,5", "1,5", "7,2", "1_000", "\u0663", ">100 000", "1.2.3", "<>5", "\uff15", "1'000", "- 5"]
)
def test_a_number_that_may_mean_two_stays_text_and_is_counted_b56(tmp_path, text):
    found, counts = value_of(tmp_path, valueString=text)
    assert found == (None, text, None, None)
    assert counts == {"availability_assumed": 1, "number_left_as_text": 1}


@pytest.mark.parametrize("text", ["nan", "Infinity", "-inf"])
def test_a_word_for_no_number_is_no_number_b57(tmp_path, text):
    for fields in ({"valueString": text}, quantity(text, unit=None)):
        found, counts = value_of(tmp_path, **fields)
        assert found == (None, text, None, None)
        assert counts["value_not_finite"] == 1


@pytest.mark.parametrize("text", ["-", "--", "\u2013", ".", "N/A", "#N/A", "null", " ", "\x00"])
def test_a_mark_for_a_missing_value_is_null_and_counted_b57(tmp_path, text):
    found, counts = value_of(tmp_path, valueString=text)
    assert found == (None, None, None, None)
    assert counts["no_value"] == 1


# Numbers


@pytest.mark.parametrize("number", ["1e999", "-1E400", "3.5e38", "1e-60", "1" * 5000])
def test_what_no_float_holds_is_null_never_zero_b57(tmp_path, number):
    line = json.dumps(observation(**quantity(0))).replace('"value": 0', f'"value": {number}').encode()
    result = ingest_lines(tmp_path, line)
    assert of(result.one("observation")) == (None, None, "mg/dL", None)
    assert counted(result)["value_not_finite"] == 1


def test_minus_zero_is_zero_and_counted_b57(tmp_path):
    found, counts = value_of(tmp_path, **quantity(-0.0))
    assert str(found[0]) == "0.0"
    assert counts["negative_zero"] == 1


@pytest.mark.parametrize("number", [999999, 9999999, 999999.99, -999, -9999, -99999, 2147483647, -2147483648])
def test_what_surely_stands_for_a_missing_number_is_null_b57(tmp_path, number):
    found, counts = value_of(tmp_path, **quantity(number))
    assert found == (None, None, "mg/dL", None)
    assert counts["sentinel_value"] == 1
    found, counts = value_of(tmp_path, valueString=str(number))
    assert found == (None, None, None, None)


@pytest.mark.parametrize(
    ("number", "unit"), [(999, "mg/dL"), (9999, "pg/mL"), (99999, "ng/mL"), (-999, "mL"), (-9, "[degF]")]
)
def test_what_may_be_a_measurement_is_kept_and_counted_b57(tmp_path, number, unit):
    found, counts = value_of(tmp_path, **quantity(number, unit=unit))
    assert found == (number, None, unit, None)
    assert counts["sentinel_value"] == 1


@pytest.mark.parametrize(
    ("number", "fields"),
    [(-9, {"unit": "mmol/L"}), (99, {}), (99.9, {}), (998, {}), (999999, {"comparator": ">"}), (9, {})],
)
def test_ordinary_numbers_and_bounds_are_no_sentinels(tmp_path, number, fields):
    found, counts = value_of(tmp_path, **quantity(number, **fields))
    assert found[0] == near(number)
    assert "sentinel_value" not in counts


@pytest.mark.parametrize(
    ("number", "beyond"),
    [
        *[(n, True) for n in ("16777217", "9007199254740993", "3.14159265", "0.123456789")],
        *[(n, False) for n in ("1.00", "1.1", "123456.7", "16777216", "0.0001234", "0.5000000000")],
    ],
)
def test_decimal_text_that_a_float32_cannot_give_back_is_counted_b60(tmp_path, number, beyond):
    line = json.dumps(observation(**quantity(0))).replace('"value": 0', f'"value": {number}').encode()
    result = ingest_lines(tmp_path, line)
    assert result.one("observation")["numeric_value"] == near(float(number))
    assert ("decimal_beyond_float32" in counted(result)) == beyond


@pytest.mark.parametrize(
    ("code", "number", "unit", "impossible"),
    [
        ("8867-4", 700, "/min", True),
        ("8867-4", 180, "beats/min", False),
        ("8310-5", 98.6, "Cel", True),
        ("8310-5", 98.6, "F", False),
        ("8310-5", 400, None, True),
        ("59408-5", 101, "%", True),
        ("2744-1", 735, "[pH]", True),
        ("29463-7", 900, "kg", True),
        ("29463-7", 900, "stone", False),
    ],
)
def test_what_no_patient_can_have_is_kept_and_counted_b61(tmp_path, code, number, unit, impossible):
    found, counts = value_of(tmp_path, code=concept(code, LOINC), **quantity(number, unit=unit))
    assert found[0] == near(number)
    assert ("impossible_value" in counts) == impossible


def test_impossible_components_are_counted_too_b61(tmp_path):
    parts = [{"code": concept("8480-6"), **quantity(1200, unit="mmHg")}]
    assert counted(ingest_lines(tmp_path, observation(component=parts)))["impossible_value"] == 1


# Units


@pytest.mark.parametrize(
    ("unit", "code", "expected", "counter"),
    [
        (None, None, None, None),
        ("", " ", None, None),
        ("mg/dL", "mg/dL", "mg/dL", None),
        ("MG/DL", None, "mg/dL", "unit_unified"),
        ("", "mmol/L", "mmol/L", None),
        ("beats/minute", "/min", "/min", "unit_unified"),
        ("F", "[degF]", "[degF]", "unit_unified"),
        ("mmol/l", "mmol/L", "mmol/L", "unit_unified"),
        ("Einheiten des Hauses", "mmol/L", "mmol/L", "unit_unified"),
        ("mg/dL", "258797006", "mg/dL", None),
        ("INR", "1", "{INR}", "unit_unified"),
        ("mg/dL", "mmol/L", "mg/dL|mmol/L", "unit_conflict"),
        ("U/L", "[IU]/L", "U/L|[IU]/L", "unit_conflict"),
        ("mL/min", "mL/min/{1.73_m2}", "mL/min|mL/min/{1.73_m2}", "unit_conflict"),
        ("%", "1", "%|1", "unit_conflict"),
        ("mg/dL", "furlong", "mg/dL|furlong", "unit_conflict"),
        ("MU", None, "MU", "unit_unknown"),
        ("furlong", "fl_x", "furlong", "unit_unknown"),
    ],
)
def test_unit_and_code_are_one_unit_or_stay_apart_b58(tmp_path, unit, code, expected, counter):
    found, counts = value_of(tmp_path, **quantity(5, unit=unit, code=code))
    assert found == (5.0, None, expected, None)
    assert {name for name in counts if name.startswith("unit")} == ({counter} if counter else set())


def test_words_of_the_site_go_before_all_others():
    units = UnitReader({"MU": "m[IU]", "Stück": "{tablet}"})
    assert units.find(("MU", None)).reading == ("m[IU]", "mapped", "unit_unified")
    assert units.find((" Stück ", None)).unit == "{tablet}"


def test_a_site_resolves_a_conflict_of_units(tmp_path):
    words = Vocabulary(units={"mg/dL|mmol/L": "mg/dl", "mg%": "mg/dL"})
    for fields in ({"unit": "mg/dL", "code": "mmol/L"}, {"unit": "mg%"}):
        result = ingest_lines(tmp_path, observation(**quantity(5, **fields)), vocabulary=words)
        assert result.one("observation")["unit"] == "mg/dL"
        assert result.writer.accounting.recognition.as_dict()["unit"]["mapped"] == 1


def test_every_use_of_a_unit_is_in_the_account(tmp_path):
    reader = ValueReader(CodeBook(Config()), 255)
    for unit in ("MG/DL", "MG/DL", "furlong", None):
        reader.units.find((unit, None)).records += 1
    assert sorted(reader.units.account(), key=str) == [
        ("", None, "not said", 1),
        ("MG/DL", "mg/dL", "recognised", 2),
        ("furlong", None, "unknown", 1),
    ]


# Kinds of values


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"valueInteger64": "12"}, (12, None, None, None)),
        ({"valueDecimal": 1.5}, (1.5, None, None, None)),
        ({"valueUnsignedInt": 3}, (3, None, None, None)),
        ({"valuePositiveInt": 3}, (3, None, None, None)),
        ({"valueCoding": {"system": LOINC, "code": "LA6576-8"}}, (None, "LOINC//LA6576-8", None, None)),
        ({"valueCode": "positive"}, (None, "positive", None, None)),
        ({"valueDate": "2020-01-01"}, (None, "2020-01-01", None, None)),
        ({"valueTime": "10:30:00"}, (None, "10:30:00", None, None)),
        ({"valueBoolean": True}, (None, "true", None, None)),
        ({"valueCodeableConcept": {"coding": [{"display": "Trace"}]}}, (None, "Trace", None, None)),
        ({"valueRange": {"low": {"value": 200, "unit": "/HPF"}}}, (200, None, "/[HPF]", ">=")),
        ({"valueRange": {"high": {"value": 5, "unit": "/HPF"}}}, (5, None, "/[HPF]", "<=")),
        (
            {"valueRange": {"low": {"value": -5, "unit": "C"}, "high": {"value": -3}}},
            (None, "-5 to -3", "Cel", None),
        ),
        (
            {"valueRange": {"low": {"value": 1, "unit": "g"}, "high": {"value": 5, "unit": "mg"}}},
            (None, "1 g-5 mg", None, None),
        ),
        (
            {"valueRatio": {"numerator": {"value": 1, "comparator": "<"}, "denominator": {"value": 10}}},
            (None, "<1:10", None, None),
        ),
        (
            {"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 640, "comparator": ">="}}},
            (None, "1:>=640", None, None),
        ),
        (
            {
                "valueRatio": {
                    "numerator": {"value": 1, "unit": "mg"},
                    "denominator": {"value": 100, "unit": "ml"},
                }
            },
            (None, "1 mg:100 mL", None, None),
        ),
        ({"valueRatio": {"denominator": {"value": 80}}}, (None, ":80", None, None)),
    ],
)
def test_every_kind_of_value_is_read_b59(tmp_path, fields, expected):
    found, counts = value_of(tmp_path, **fields)
    assert found == (near(expected[0]), *expected[1:])
    assert "no_value" not in counts


def test_an_unknown_comparator_within_a_range_or_ratio_leaves_no_number(tmp_path):
    odd = {"value": 5, "comparator": "<>"}
    assert value_of(tmp_path, valueRange={"low": odd})[0] == (None, ">=<>5", None, None)
    found, counts = value_of(tmp_path, valueRatio={"numerator": odd, "denominator": {"value": 8}})
    assert found == (None, "<>5:8", None, None)
    assert counts["unknown_comparator"] == 1


@pytest.mark.parametrize("kind", ["SampledData", "Period", "Attachment", "Reference"])
def test_kinds_that_are_not_read_are_counted_b59(tmp_path, kind):
    found, counts = value_of(tmp_path, **{f"value{kind}": {"x": 1}})
    assert found == (None, None, None, None)
    assert counts["value_kind_not_read"] == counts["no_value"] == 1


def test_a_null_is_no_value(tmp_path):
    nulls = {f"value{kind}": None for kind in ("Range", "Ratio", "Integer", "Period", "Quantity", "String")}
    line = json.dumps(observation() | nulls).encode()
    result = ingest_lines(tmp_path, line)
    assert counted(result) == {"availability_assumed": 1, "no_value": 1}


WHOLES = [
    *[
        {"valueInteger": 14},
        {"valueQuantity": {"value": 14}},
        {"valueBoolean": False},
        {"valueTime": "10:00:00"},
    ],
    *[{"valueRange": {"low": {"value": 3}, "high": {"value": 5}}}, {"valueDateTime": "2024-02-28"}],
    *[{"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 8}}}, {"valueString": "mild"}],
    *[{"valueInteger64": "14"}, {"valueDecimal": 1.5}, {"valueSampledData": {}}, {"valuePeriod": {}}],
    *[{"valueCodeableConcept": concept()}, {"valueAttachment": {}}, {"valueCoding": {"code": "x"}}],
]


@pytest.mark.parametrize("whole", WHOLES)
def test_a_value_beside_components_is_an_event_too_b59(tmp_path, whole):
    parts = [{"code": concept(code), "valueInteger": 4} for code in ("9267-6", "9268-4")]
    result = ingest_lines(tmp_path, observation(component=parts, **whole))
    assert sorted(e["code"] for e in result.of("observation")) == [
        "LOINC//2345-7",
        "LOINC//9267-6",
        "LOINC//9268-4",
    ]


def test_a_reason_for_a_missing_value_is_counted_and_makes_no_token_b33(tmp_path):
    reason = concept("not-performed", "http://terminology.hl7.org/CodeSystem/data-absent-reason")
    found, counts = value_of(tmp_path, dataAbsentReason=reason)
    assert found == (None, None, None, None)
    assert counts["data_absent_reason"] == counts["no_value"] == 1
    parts = [{"code": concept("8480-6"), "dataAbsentReason": reason}]
    assert counted(ingest_lines(tmp_path, observation(component=parts)))["data_absent_reason"] == 1


def test_a_second_value_is_counted(tmp_path):
    found, counts = value_of(tmp_path, valueString="high", **quantity(5))
    assert found == (5.0, None, "mg/dL", None)
    assert counts["several_values"] == 1


# Doses


def administration(dosage, **fields):
    drug = concept("7512", "http://www.nlm.nih.gov/research/umls/rxnorm")
    time = {"effectiveDateTime": "2020-01-01T10:00:00Z"}
    return resource(
        "MedicationAdministration", medicationCodeableConcept=drug, dosage=dosage, **time, **fields
    )


PER_HOUR = {"numerator": {"value": 10, "unit": "mg"}, "denominator": {"value": 1, "unit": "hour"}}
PER_DAY = {"numerator": {"value": 10, "unit": "mg"}, "denominator": {"value": 24, "unit": "h"}}


@pytest.mark.parametrize(
    ("dosage", "expected", "counter"),
    [
        ({"dose": {"value": 2, "unit": "mg"}}, (2, None, "mg", None), None),
        ({"dose": {"value": "2,5", "unit": "mg"}}, (None, "2,5", "mg", None), "number_left_as_text"),
        ({"dose": {"value": "<2", "unit": "mg"}}, (2, None, "mg", "<"), None),
        (
            {"dose": {"value": 2, "unit": "mg", "comparator": "?"}},
            (None, "?2", "mg", None),
            "unknown_comparator",
        ),
        ({"rateQuantity": {"value": 5, "unit": "mL/hr"}}, (5, None, "mL/h", None), "rate_as_value"),
        ({"rateRatio": PER_HOUR}, (10, None, "mg/h", None), "rate_as_value"),
        ({"rateRatio": PER_DAY}, (None, "10 mg:24 h", None, None), "rate_as_value"),
        ({"dose": {"unit": "mg"}, "rateRatio": PER_HOUR}, (10, None, "mg/h", None), "rate_as_value"),
        ({"dose": {"value": 2, "unit": "mg"}, "rateRatio": PER_HOUR}, (2, None, "mg", None), "rate_not_kept"),
        ({"text": "as needed"}, (None, None, None, None), "dose_not_read"),
        ({"rateRatio": {}}, (None, None, None, None), "dose_not_read"),
    ],
)
def test_the_rate_is_the_value_where_there_is_no_dose(tmp_path, dosage, expected, counter):
    result = ingest_lines(tmp_path, administration(dosage))
    assert of(result.one("medication_administration")) == expected
    assert counter is None or counted(result)[counter] == 1


@pytest.mark.parametrize(
    ("kind", "fields", "counter"),
    [
        ("MedicationRequest", {"dosageInstruction": [{"text": "x"}]}, "order_dosage_not_read"),
        ("MedicationDispense", {"quantity": {"value": 3}}, "dispense_quantity_not_read"),
        ("MedicationDispense", {"daysSupply": {"value": 3}}, "dispense_days_not_read"),
        ("MedicationDispense", {"dosageInstruction": [{}]}, "dispense_dosage_not_read"),
        ("MedicationStatement", {"dosage": [{}]}, "statement_dosage_not_read"),
    ],
)
def test_parts_that_give_nothing_are_counted(tmp_path, kind, fields, counter):
    times = dict.fromkeys(("authoredOn", "whenHandedOver", "dateAsserted"), "2020-01-01T10:00:00Z")
    line = resource(kind, medicationCodeableConcept=concept("1"), **times, **fields)
    assert counted(ingest_lines(tmp_path, line))[counter] == 1


# What drugs are made of


def medication(name, *parts, code=None, **fields):
    made_of = [{"itemReference": {"reference": part}} for part in parts]
    own = {"code": concept(code)} if code else {}
    return {"resourceType": "Medication", "id": name, "ingredient": made_of} | own | fields


def order_of(reference, **fields):
    when = {"authoredOn": "2020-01-01T10:00:00Z"}
    return resource("MedicationRequest", medicationReference={"reference": reference}, **when, **fields)


CHAIN = [medication("A", "Medication/B"), medication("B", "Medication/C"), medication("C", code="1")]
WITH_INSIDE = [
    medication("A", "#s", "Medication/B", contained=[medication("s", code="4")]),
    medication("B", code="5"),
]
CARRIER = {"resourceType": "Practitioner", "id": "p", "code": "no concept"}


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ([order_of("Medication/A"), medication("A", "Medication/B"), medication("B", "Medication/A")], set()),
        ([order_of("Medication/A"), medication("A", "Medication/A")], set()),
        ([order_of("Medication/A"), *CHAIN], {"LOINC//1"}),
        ([order_of("#m", contained=[medication("m", "#s", "#m"), medication("s", code="2")])], {"LOINC//2"}),
        ([order_of("#m", contained=[medication("#m", "Medication/A")]), *CHAIN], {"LOINC//1"}),
        ([order_of("#m", contained=[CARRIER, medication("m", code="3")])], {"LOINC//3"}),
        ([order_of("#none", contained=[CARRIER])], set()),
        ([order_of("Medication/A"), *WITH_INSIDE], {"LOINC//4", "LOINC//5"}),
    ],
)
def test_drugs_are_followed_to_their_ingredients_and_never_in_a_circle(tmp_path, lines, codes):
    result = ingest_lines(tmp_path, *lines)
    found = {e["code"] for e in result.of("medication_request")}
    assert found == (codes or {"NO-CODE//MedicationRequest"})
    assert ("unknown_medication" in counted(result)) == (not codes)
    assert result.total("quarantined") == {}


# Statuses


@pytest.mark.parametrize("status", ["Entered-In-Error", "entered_in_error", "ENTERED IN ERROR", "Canceled"])
def test_a_status_is_understood_in_any_spelling_b34(tmp_path, status):
    result = ingest_lines(tmp_path, observation(status=status))
    assert result.of("observation") == []
    assert sum(result.total("filtered").values()) == 1


@pytest.mark.parametrize("kind", ["MedicationRequest", "MedicationAdministration", "Observation"])
def test_a_status_that_fhir_does_not_have_is_kept_and_counted(tmp_path, kind):
    when = {"authoredOn": "2020-01-01T10:00:00Z", "effectiveDateTime": "2020-01-01T10:00:00Z"}
    line = resource(kind, status="half-done", medicationCodeableConcept=concept("1"), code=concept(), **when)
    result = ingest_lines(tmp_path, line)
    assert len(result.events) == 3
    assert counted(result)["unknown_status"] == 1


# Any input


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
KINDS = [
    *("Quantity", "String", "CodeableConcept", "Boolean", "Integer", "Range", "Ratio", "SampledData", "Time"),
    *("DateTime", "Period", "Attachment", "Reference", "Integer64", "Decimal", "Coding", "Code", "Instant"),
]
quantities = st.fixed_dictionaries(
    {},
    optional={
        "value": st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
        "comparator": st.sampled_from([*COMPARATORS]) | st.text(max_size=4),
        "unit": st.sampled_from(["mg/dL", "MG/DL", "", "furlong"]) | st.text(max_size=8),
        "code": st.sampled_from(["mg/dL", "mmol/L", "1"]) | st.text(max_size=8),
    },
)
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(kind=st.sampled_from(KINDS), value=json_values | quantities)
def test_any_value_gives_one_event_or_a_reason(tmp_path, kind, value):
    result = ingest_lines(tmp_path, observation(**{f"value{kind}": value}))
    refused = sum(result.total("quarantined").values())
    assert len(result.of("observation")) + refused == 1


@many
@given(quantities)
def test_a_number_stands_only_beside_a_comparator_that_was_understood(tmp_path, written):
    result = ingest_lines(tmp_path, observation(valueQuantity=written))
    for event in result.of("observation"):
        word = " ".join(written.get("comparator", "").split()).lower()
        if word and word not in COMPARATORS:
            assert event["numeric_value"] is None
        if word and COMPARATORS.get(word) and event["numeric_value"] is not None:
            assert event["comparator"] == COMPARATORS[word]


@given(st.text(max_size=12))
def test_a_text_with_a_comparator_sign_never_becomes_an_exact_number(text):
    found = parse(text)
    if found is not None and any(sign in text for sign in "<>\u2264\u2265~"):
        assert found.comparator


@given(st.text(alphabet="0123456789.,-+<>=~/:_ eE%\u0661\u0662x", max_size=10))
def test_a_number_is_written_in_the_text_it_was_read_from(text):
    found = parse(text)
    if found is not None:
        assert found.number.replace("-", "") in text
        assert float(found.number) is not None


def test_a_result_known_by_its_date_alone_is_known_at_its_end(tmp_path):
    event = ingest_lines(tmp_path, observation(issued="2020-01-01", **quantity(3))).one("observation")
    assert event["available_time"] == datetime(2020, 1, 1, 23, 59, 59, 999999)
