"""The step bench at tiny sizes: what it writes, and that a peer which steps wrongly is found."""

import json

import pytest
import torch

from chartscan_lab.bench import step
from chartscan_lab.bench.command import run_bench
from chartscan_lab.bench.progress import Counter
from chartscan_lab.bench.timing import Plan, clock

SETTINGS = step.Settings(rows=(3,), events=5, width=24, layers=2, rounds=2, seconds=0.05)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "step.json"
    settings = ["rows=[1,3]", "events=5", "width=24", "layers=2", "rounds=2", "seconds=0.05"]
    (table,) = run_bench("step", out, settings)
    return json.loads(out.read_text()), table


def test_the_result_names_every_implementation_at_every_number_of_rows(found):
    result, table = found
    assert [case["rows_together"] for case in result["steps"]] == [1, 3]
    for case in result["steps"]:
        assert [row["name"] for row in case["rows"]] == [peer.name for peer in step.PEERS]
        for row in case["rows"]:
            assert row["name"] in table
            if not row["not_run"]:
                assert row["error"] < 1e-5
                assert row["ratio"] == pytest.approx(row["seconds"] / case["rows"][0]["seconds"])


def test_steps_that_forget_the_state_are_found_and_not_timed():
    def forgetful(work):
        right = step.our_blocks(work)
        return right._replace(fold=lambda: torch.roll(right.fold(), 1, dims=1))

    peers = (step.PEERS[0], step.Peer("planted", forgetful))
    right, wrong = step.measure(SETTINGS, 3, peers, clock(1), Plan(2, 0.05), Counter(6))["rows"]
    assert right["seconds"] > 0
    assert "differs" in wrong["not_run"]
    assert "seconds" not in wrong


def test_a_token_of_the_history_holds_all_that_is_known_of_it():
    work = step.Work.of(SETTINGS, 3)
    with torch.no_grad():
        one_by_one = [work.model.embedding(step.token_at(work.history, t)) for t in range(5)]
    torch.testing.assert_close(torch.cat(one_by_one, 1), work.embedded)
