"""The site file: read as text, checked, and never misread; its starter is safe to feed back."""

import contextlib
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartscan.commands.ingest import NOT_WORDS, suggestions, write_suggestions
from chartscan.errors import ConfigError
from chartscan.labels.making import stay_config
from chartscan.site import Site, Vocabulary, parse_site, read_site
from chartscan.sources.fhir.words import Declared
from chartscan.store.accounting import Recognition

WHOLE = b"""
vocabulary:
  class: {"4": stay, http://here.example/class|7: Emergency, bed: ACUTE}
  disposition: {17: dead, "nach Hause": alive, x: home}
  systems: {http://here.example/dx: http://fhir.de/CodeSystem/bfarm/icd-10-gm, http://here.example/lab: HERE}
  diagnoses: {SNOMED|10725009: Hypertension, ICD10GM|I10.9: none}
  diagnosis_status: {V: Unconfirmed, storniert: wrong}
  sex: {1: Male, 2: female}
  units: {mg%: mg/dL}
stays:
  merge_gap_hours: 6
"""


def test_a_site_file_is_read_with_its_meanings_in_one_form():
    site = parse_site(WHOLE)
    words = site.vocabulary
    assert words.class_ == {"4": "stay", "http://here.example/class|7": "emergency", "bed": "ACUTE"}
    assert words.disposition == {"17": "dead", "nach Hause": "alive", "x": "HOME"}
    assert words.systems == {"http://here.example/dx": "ICD10GM", "http://here.example/lab": "HERE"}
    assert words.diagnoses == {"SNOMED|10725009": "hypertension", "ICD10GM|I10.9": "none"}
    assert words.diagnosis_status == {"V": "unconfirmed", "storniert": "wrong"}
    assert words.sex == {"1": "male", "2": "female"}
    assert words.units == {"mg%": "mg/dL"}
    assert stay_config(site.stays).merge_gap_hours == 6


@pytest.mark.parametrize(
    "word", ["07", "010", "0x1F", "yes", "NO", "on", "null", "1e3", "1_000", "12:30", "4.0", "~"]
)
def test_words_that_yaml_would_take_for_numbers_or_truth_values_stay_as_written(word):
    site = parse_site(f"vocabulary:\n  class:\n    {word}: stay\n".encode())
    assert site.vocabulary.class_ == {word: "stay"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "vocabulary:\n", "vocabulary:\n  class:\nstays:\n"])
def test_an_empty_file_or_section_declares_nothing(text):
    assert parse_site(text.encode()) == Site()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("vocabulry: {}", "Did you mean 'vocabulary'"),
        ("vocabulary: {dispositions: {}}", "Did you mean 'disposition'"),
        ("vocabulary: {class_: {}}", "Did you mean 'class'"),
        ("vocabulary: {class: {a: stya}}", "Did you mean 'stay'"),
        ("vocabulary: {class: {a: dead}}", "Known: stay, emergency, other"),
        ("vocabulary: {disposition: {a: deed}}", "Did you mean 'dead'"),
        ("vocabulary: {disposition: {a: CONFLICTING}}", "no meaning"),
        ("vocabulary: {sex: {a: m}}", "Known: male, female, other, unknown"),
        ("vocabulary: {systems: {a: 'two words'}}", "no name of a code system"),
        ("vocabulary: {diagnoses: {SNOMED|1: hypertention}}", "Did you mean 'hypertension'"),
        (
            "vocabulary: {diagnoses: {SNOMED|1: x}}",
            "Known: hypertension, fluid_disorder, lipid_disorder, none",
        ),
        ("vocabulary: {diagnosis_status: {a: refuted}}", "Known: confirmed, unconfirmed, wrong, unknown"),
        ("vocabulary: {diagnoses: {'10725009': none}}", "'10725009': expected a code and its system"),
        ("vocabulary: {diagnoses: {'|1': none}}", "expected a code and its system"),
        (
            "vocabulary: {diagnoses: {ICD10|I10.9: none, http://hl7.org/fhir/sid/icd-10|i109: hypertension}}",
            "the same code stands here with another meaning",
        ),
        ("vocabulary: {class: {a: }}", "1 words have no meaning yet, such as 'a'"),
        ("vocabulary: {class: {a: [stay]}}", "one word and one meaning"),
        ("vocabulary: {class: {a: stay, a: other}}", "same key stands here twice"),
        ("vocabulary: {class: {a: stay}}\nvocabulary: {}", "line 2: not YAML"),
        ("vocabulary: {class: {[a]: stay}}", "a key must be one word"),
        ("vocabulary: [class]", "expected sections"),
        ("vocabulary: {class: stay}", "words and their meanings"),
        ("- a", "expected sections"),
        ("vocabulary: {class: {a: stay}", "not YAML"),
        ("a: &x [*x]", "not YAML"),
        ("vocabulary: &x {class: *x}", "not YAML"),
        ("stays: 6", "expected settings"),
        ("vocabulary: !!python/object:os.system {kind: {}}", "no section 'kind'"),
    ],
)
def test_what_is_wrong_in_a_site_file_is_told_with_what_may_stand_there(text, told):
    with pytest.raises(ConfigError) as error:
        parse_site(text.encode())
    assert told in str(error.value)


def test_a_wrong_setting_of_stays_is_told_with_the_nearest_right_one():
    with pytest.raises(ConfigError, match=r"merge_gap_hour: no such setting. Did you mean 'merge_gap_hours'"):
        stay_config({"merge_gap_hour": "6"})
    with pytest.raises(ConfigError, match="merge_gap_hours"):
        stay_config({"merge_gap_hours": "six"})
    with pytest.raises(ConfigError, match="version"):
        stay_config({"version": "2"})


def test_errors_of_a_site_file_do_not_quote_free_text():
    with pytest.raises(ConfigError) as error:
        parse_site(b"vocabulary: {class: {a: stay, bed of Mrs Miller: }}")
    assert "Miller" not in str(error.value)
    assert "entry 2" in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_bytes(b"vocabulary: \xff\xfe\x00")
    with pytest.raises(ConfigError, match="not YAML"):
        read_site(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_site(tmp_path / "none.yaml")


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_content_is_read_or_refused_and_never_crashes(content):
    with contextlib.suppress(ConfigError):
        parse_site(content)


def test_a_declared_word_may_belong_to_one_system_alone():
    declared = Declared({"http://a.example/class|4": "stay", "5": "other", "v2-0112|9": "dead", "a|b": "x"})
    assert declared.find("4", "https://A.example/class/|1.0") == "stay"
    assert declared.find("4", "http://b.example/class") is declared.find("4") is None
    assert declared.find("5", "http://b.example/class") == declared.find(" 5 ") == "other"
    assert declared.find("9", "http://terminology.hl7.org/CodeSystem/v2-0112") == "dead"
    assert declared.find("a|b") == "x"
    assert Declared({"07": "dead"}).find("07!") is None


WORDS = st.text(min_size=1, max_size=30).filter(lambda w: w.strip() and w not in NOT_WORDS)


@given(
    st.dictionaries(WORDS, st.integers(1, 1000), min_size=1, max_size=4),
    st.sampled_from(["", "http://here.example/class", "urn:oid:1.2.3.4.5|2"]),
)
def test_a_starter_fed_back_is_refused_unedited_and_understood_when_filled_in(words, system):
    recognition = Recognition()
    for word, n in words.items():
        recognition.recognise("class", word, None, "unknown", n, system=system.partition("|")[0])
    text, number = suggestions(recognition.words(), Site())
    assert number == len(words)
    with pytest.raises(ConfigError, match="have no meaning yet"):
        parse_site(text.encode())
    filled = "\n".join(line.replace(":  # fill in:", ": stay #") for line in text.splitlines())
    declared = Declared(parse_site(filled.encode()).vocabulary.class_)
    assert all(declared.find(word, system) == "stay" for word in words)


def test_a_starter_keeps_what_is_declared_and_is_for_its_owner_alone(tmp_path):
    recognition = Recognition()
    recognition.recognise("disposition", "Mrs Miller went home", None, "unknown", 1, text=True)
    recognition.recognise("class", "no class", None, "unknown", 3)
    recognition.recognise("units", "mg%", None, "unknown", 9)
    recognition.recognise("sex", "f", "F", "recognised", 9)
    site = Site(Vocabulary(class_={"4": "stay"}), {"merge_gap_hours": "6", "planned_classes": ["EL"]})
    path = tmp_path / "site.yaml"
    assert write_suggestions(path, recognition, site) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert '"Mrs Miller went home":  # fill in: 1 records' in text
    again = parse_site(text.replace(":  # fill in:", ": alive #").encode())
    assert again.vocabulary.class_ == {"4": "stay"}
    assert again.vocabulary.units == {}
    assert again.stays == site.stays
