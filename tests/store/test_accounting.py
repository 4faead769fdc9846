import json

import pytest

from chartscan.errors import BudgetError, DataError
from chartscan.store.accounting import UNROUTED, Accounting


def counted() -> Accounting:
    accounting = Accounting()
    accounting.line("labs.ndjson", "Observation", 1000)
    accounting.accept("labs.ndjson", "Observation", 900)
    accounting.merge_duplicate("labs.ndjson", "Observation", 40)
    accounting.filter("labs.ndjson", "Observation", "B34 cancelled", 59)
    accounting.quarantine("labs.ndjson", "Observation", "B02 malformed_json")
    return accounting


def test_lines_that_add_up_pass():
    counted().check()


@pytest.mark.parametrize("outcome", ["line", "accept", "merge_duplicate"])
def test_one_line_too_many_is_refused_with_file_and_type(outcome):
    accounting = counted()
    getattr(accounting, outcome)("labs.ndjson", "Observation")
    with pytest.raises(DataError, match=r"labs\.ndjson, Observation"):
        accounting.check()


def test_a_lost_line_is_not_hidden_by_one_counted_twice_in_another_file():
    accounting = counted()
    accounting.line("a.ndjson", "Patient")
    accounting.accept("b.ndjson", "Patient")
    with pytest.raises(DataError, match=r"a\.ndjson.*b\.ndjson"):
        accounting.check()


def test_the_budget_is_a_share_of_the_lines_of_a_type():
    accounting = counted()
    accounting.check_budget(0.001)
    with pytest.raises(BudgetError, match="Observation: 1 of 1000") as raised:
        accounting.check_budget(0.0)
    assert raised.value.exit_code == 4
    accounting.quarantine("labs.ndjson", "Observation", "B02 malformed_json")
    with pytest.raises(BudgetError):
        accounting.check_budget(0.001)


def test_lines_of_unknown_type_are_measured_against_all_lines():
    accounting = counted()
    accounting.line("labs.ndjson", UNROUTED)
    accounting.quarantine("labs.ndjson", UNROUTED, "B02 malformed_json")
    accounting.check_budget(0.001)
    accounting.line("labs.ndjson", UNROUTED, 5)
    accounting.quarantine("labs.ndjson", UNROUTED, "B02 malformed_json", 5)
    with pytest.raises(BudgetError, match="unrouted: 6 of 1006"):
        accounting.check_budget(0.001)


def test_the_accounts_of_two_workers_merge_into_that_of_one():
    whole = Accounting()
    for accounting in (counted(), counted()):
        accounting.flagged("B45 end_before_start")
        accounting.normalised("B32 code_case", 2)
        whole.merge(accounting)
    whole.check()
    assert (whole.lines_in, whole.accepted, whole.quarantined) == (2000, 1800, 2)
    content = json.loads(json.dumps(whole.as_dict()))
    assert content["flagged"] == {"B45 end_before_start": 2}
    assert content["normalised"] == {"B32 code_case": 4}
    assert content["lines"] == [
        {
            "file": "labs.ndjson",
            "type": "Observation",
            "lines_in": 2000,
            "accepted": 1800,
            "merged_duplicates": 80,
            "filtered": {"B34 cancelled": 118},
            "quarantined": {"B02 malformed_json": 2},
        }
    ]
