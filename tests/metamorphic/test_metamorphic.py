"""Mutations of a simulated export against every task: what may change no label changes none.

`make test` has a small hospital, `make soak` (marker `soak`) one of many more patients, and mutations that
are much like another. That the checks can fail is shown by labels with planted faults.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from chartscan.errors import ChartscanError
from hospital_export import TASKS, Hospital, Labels, ingested, labels_of, simulated, stays, write
from mutations import FILES, KEEPS, LOSES, TOUCHES, UNDECLARED
from precision import DAY, SHIFTS, placed, possible

SIZES = [pytest.param(30, id="30"), pytest.param(600, id="600", marks=pytest.mark.soak)]


@pytest.fixture(scope="module", params=SIZES)
def original(request, tmp_path_factory) -> tuple[Hospital, Labels]:
    folder = tmp_path_factory.mktemp("original")
    hospital = simulated(folder, request.param, seed=11)
    dataset = ingested(write(hospital, folder / "export"), folder / "dataset", hospital)
    labels, refused = labels_of(dataset)
    assert not refused
    assert {task for task, _, _ in labels} == set(TASKS)
    return hospital, labels


ALIKE = (  # to others that `make test` has
    *(
        "diagnoses_as_http://fhir.de/CodeSystem/dimdi/icd-10-gm",
        "diagnoses_as_http://hl7.org/fhir/sid/icd-10",
    ),
    "diagnoses_as_https://fhir.infoway-inforoute.ca/CodeSystem/icd-10-ca",
    *("diagnoses_as_http://hl7.org/fhir/sid/icd-10-am", "diagnoses_as_ICD10CM"),
    *("deaths to the month", "deaths to the month, no dispositions"),
    *(name for name in UNDECLARED if name.endswith("one in 3")),
)


def sampled(names: Iterable[str]) -> list[Any]:
    """The names, those in ALIKE for `make soak`."""
    return [pytest.param(name, marks=pytest.mark.soak) if name in ALIKE else name for name in names]


def test_what_is_left_to_soak_is_there():
    assert {*KEEPS, *UNDECLARED, *SHIFTS} > set(ALIKE)


def relabelled(hospital: Hospital, folder: Path, lay_out: Callable[..., Path] = write) -> Any:
    """Labels and refusals of a changed hospital."""
    export = lay_out(hospital, folder / "export")
    return labels_of(ingested(export, folder / "dataset", hospital))


def differences(before: Labels, after: Labels) -> dict[str, int]:
    """How many labels were lost, appeared, and turned round."""
    both = before.keys() & after.keys()
    return {
        "lost": len(before.keys() - after.keys()),
        "new": len(after.keys() - before.keys()),
        "flipped": sum(before[key] != after[key] for key in both),
    }


NONE = {"lost": 0, "new": 0, "flipped": 0}


def test_there_are_at_least_25_mutations():
    assert len(KEEPS) + len(FILES) + len(TOUCHES) + len(UNDECLARED) + len(SHIFTS) >= 25


@pytest.mark.parametrize("name", FILES)
def test_other_files_keep_every_label(original, tmp_path, name):
    hospital, before = original
    after, refused = relabelled(hospital.copy(), tmp_path, FILES[name])
    assert (differences(before, after), refused) == (NONE, {})


@pytest.mark.parametrize("name", sampled(KEEPS))
def test_the_same_facts_in_other_words_keep_every_label(original, tmp_path, name):
    changed, before = original[0].copy(), original[1]
    KEEPS[name](changed)
    after, refused = relabelled(changed, tmp_path)
    assert (differences(before, after), refused) == (NONE, {})


@pytest.mark.parametrize("name", TOUCHES)
def test_only_the_subjects_that_are_touched_change(original, tmp_path, name):
    changed, before = original[0].copy(), original[1]
    touched = TOUCHES[name](changed)
    after, _ = relabelled(changed, tmp_path)
    apart = [{k: v for k, v in labels.items() if k[1] not in touched} for labels in (before, after)]
    assert differences(*apart) == NONE
    assert len(apart[0]) > 0
    if name in LOSES:  # of the others, labels may get lost and none may turn round
        found = differences(before, after)
        assert (found["flipped"], found["new"]) == (0, 0)


@pytest.mark.parametrize("name", sampled(UNDECLARED))
def test_a_word_that_is_not_known_turns_no_label_round_and_is_named(original, tmp_path, name):
    changed, before = original[0].copy(), original[1]
    change, word = UNDECLARED[name]
    change(changed)
    try:
        after, refused = relabelled(changed, tmp_path)
    except ChartscanError as err:
        after, refused = {}, dict.fromkeys(TASKS, str(err))
    found = differences(before, after)
    assert (found["flipped"], found["new"]) == (0, 0)
    assert all(word.rpartition(":")[2] in text for text in refused.values())
    if not name.endswith("50"):
        assert refused
    else:
        assert after


@pytest.mark.parametrize("name", sampled(SHIFTS))
def test_less_exact_times_leave_exactly_the_labels_on_which_all_readings_agree(original, tmp_path, name):
    changed, before = original[0].copy(), original[1]
    SHIFTS[name](changed)
    after = by_stay(changed, relabelled(changed, tmp_path)[0])
    expected = possible(changed)
    assert {
        k: (after.get(k), expected.get(k)) for k in after | expected if after.get(k) != expected.get(k)
    } == {}
    exact = by_stay(original[0], before)
    assert [key for key in after.keys() & exact.keys() if after[key] != exact[key]] == []


def by_stay(hospital: Hospital, labels: Labels) -> dict[tuple[str, str, int], bool]:
    """Labels by the number of the stay: less exact times are placed later."""
    places: dict[tuple[str, Any], list[int]] = {}
    own: dict[str, list[dict[str, Any]]] = {}
    for stay in stays(hospital):
        own.setdefault(stay["subject"]["reference"].removeprefix("Patient/"), []).append(stay)
    for name, mine in own.items():
        for number, stay in enumerate(sorted(mine, key=lambda s: s["id"])):
            start, end = placed(stay)
            places[name, ("hours", start + DAY)] = number
            places[name, ("discharge", end)] = number
    kinds = dict.fromkeys(TASKS, "discharge") | dict.fromkeys(TASKS[:2], "hours")
    return {(task, name, places[name, (kinds[task], at)]): v for (task, name, at), v in labels.items()}


def test_the_independent_computation_agrees_with_the_labels_of_exact_times(original):
    assert possible(original[0]) == by_stay(*original)


def test_a_planted_fault_is_seen(original):
    """Unknown taken for no: what the suite is there to find."""
    before = original[1]
    silent = {key: value and key[0] != "in_hospital_mortality" for key, value in before.items()}
    assert differences(before, silent)["flipped"] > 0
    assert differences(before, {k: v for k, v in before.items() if v})["lost"] > 0
