"""The scan bench at tiny sizes: what it writes, that it finds a wrong peer, that its arithmetic is right."""

import json
import os
from mmap import mmap

import pytest
import torch

from chartscan.kernels import native, selective_scan
from chartscan_lab.bench import roofline, scan
from chartscan_lab.bench.command import run_bench
from chartscan_lab.bench.machine import observed
from chartscan_lab.bench.memory import extra_bytes, in_fresh_process
from chartscan_lab.bench.progress import Counter
from chartscan_lab.bench.roofline import Rates
from chartscan_lab.bench.scan_inputs import Shape, random_inputs
from chartscan_lab.bench.scan_peers import PEERS, Peer, channels_last, einsum_loop
from chartscan_lab.bench.timing import Plan, clock

TINY = Shape(2, 37, 64, 4)
COMPARABLE = [peer for peer in PEERS.values() if peer.comparable]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A tiny run through the command's own door, and its table."""
    out = tmp_path_factory.mktemp("bench") / "scan.json"
    settings = (
        "forward=[[2,20]]",
        "backward=[[1,17]]",
        "roofline=[[1,40]]",
        "memory=[]",
        'peers=["chartscan native","chartscan chunked","einsum, then loop","LSTM of width 256"]',
        "channels=64",
        "states=4",
        "threads=1",
        "rounds=2",
        "seconds=0.1",
    )
    (table,) = run_bench("scan", out, list(settings))
    return json.loads(out.read_text()), table


def test_the_result_names_conditions_settings_and_every_implementation(found):
    result, table = found
    assert result["settings"]["channels"] == 64
    assert {"load_before", "load_after", "threads", "torch", "native"} <= set(result["conditions"])
    assert [case["pass"] for case in result["times"]] == ["forward", "forward + backward"]
    for case in result["times"]:
        assert [row["name"] for row in case["rows"]] == result["settings"]["peers"]
        assert all(row["name"] in table for row in case["rows"])


def test_ratios_are_those_of_the_medians(found):
    for case in found[0]["times"]:
        rows = {row["name"]: row for row in case["rows"] if not row["not_run"]}
        base = rows[case["baseline"]]
        for row in rows.values():
            assert row["range"][0] <= row["seconds"] <= row["range"][1]
            assert row["ratio"] == pytest.approx(row["seconds"] / base["seconds"])


def test_comparable_implementations_have_an_error_and_others_none(found):
    for case in found[0]["times"]:
        for row in case["rows"]:
            if not row["not_run"]:
                assert (row["error"] is not None) == row["comparable"]
                assert not row["comparable"] or row["error"] < 1e-5


def test_without_native_kernels_the_rows_say_so(monkeypatch):
    monkeypatch.setattr(native, "why_not", lambda: "not today")
    case = scan.measure([PEERS["chartscan native"]], TINY, False, clock(1), Plan(1, 0.1), Counter(2))
    assert "not today" in case["rows"][0]["not_run"]
    assert case["baseline"] is None
    assert "seconds" not in case["rows"][0]


@pytest.mark.parametrize("peer", COMPARABLE, ids=lambda peer: peer.name)
def test_every_comparable_implementation_equals_the_scan_in_float64_with_its_gradients(peer):
    if why := peer.obstacle(TINY, True):
        pytest.skip(why)
    expected = scan.truth(TINY, True)
    found = peer.prepare(TINY).result(backward=True)
    assert [tensor.shape for tensor in found] == [tensor.shape for tensor in expected]
    assert scan.error_of(found, expected) < 1e-5


def slightly_wrong(*inputs):
    x, dt, A, B, C, D, z, dt_bias = inputs
    return selective_scan(x, dt, 1.01 * A, B, C, D=D, z=z, dt_bias=dt_bias, backend="chunked")[0]


def wrong_in_one_gradient(*inputs):
    x, dt, A, B, C, D, z, dt_bias = inputs
    return selective_scan(x, dt, A, B, C, D=D.detach() + 0 * D, z=z, dt_bias=dt_bias, backend="chunked")[0]


def not_a_number(*inputs):
    return slightly_wrong(*inputs) * torch.nan


@pytest.mark.parametrize(
    ("function", "backward"),
    [(slightly_wrong, False), (slightly_wrong, True), (wrong_in_one_gradient, True), (not_a_number, False)],
)
def test_a_planted_wrong_peer_is_found_and_not_timed(function, backward):
    planted = Peer("planted", channels_last(function))
    peers = [PEERS["chartscan chunked"], planted]
    case = scan.measure(peers, TINY, backward, clock(1), Plan(2, 0.1), Counter(6))
    right, wrong = case["rows"]
    assert right["not_run"] is None
    assert right["seconds"] > 0
    assert "wrong" in wrong["not_run"]
    assert "seconds" not in wrong
    found = {"conditions": dict(conditions()), "clock": "", "times": [case], "memory": [], "roofline": []}
    assert wrong["not_run"] in scan.table(found)


def conditions():
    with observed(1) as found:
        pass
    return found


def test_lengths_whose_backward_is_quadratic_are_said_not_to_be_run():
    loop = PEERS["transformers, loop"]
    assert "not run" in loop.obstacle(Shape(1, 1024), backward=True)
    assert "not run" not in (loop.obstacle(Shape(1, 1024), backward=False) or "")


def test_the_einsum_loop_is_a_peer_by_its_values_not_by_its_name():
    x, dt, A, B, C, D, z, dt_bias = random_inputs(TINY)[0]
    turned = [v.transpose(1, 2) for v in (x, dt, B, C, z)]
    found = einsum_loop(turned[0], turned[1], A, turned[2], turned[3], D, turned[4], dt_bias)
    expected = selective_scan(x, dt, A, B, C, D=D, z=z, dt_bias=dt_bias, backend="reference")[0]
    torch.testing.assert_close(found.transpose(1, 2), expected, rtol=1e-4, atol=1e-5)


def test_the_floor_equals_a_count_by_hand():
    shape, rates = Shape(4, 2048, 512, 16), Rates(multiply_adds=100e9, bytes=20e9)
    elements = 4 * 2048 * 512 * 16
    forward = roofline.floor(shape, rates, backward=False)
    assert forward.recurrence_seconds == pytest.approx(elements * 10 / 100e9)
    assert forward.compute_seconds == pytest.approx(elements * (10 + 26 / 16) / 100e9)
    floats = 4 * 2048 * (4 * 512 + 2 * 16)
    assert forward.memory_seconds == pytest.approx(4 * floats / 20e9)
    assert forward.seconds == pytest.approx(7.8e-3, rel=0.01)
    both = roofline.floor(shape, rates, backward=True)
    assert both.recurrence_seconds == pytest.approx(elements * 28 / 100e9)
    assert both.compute_seconds == pytest.approx(elements * (28 + (26 + 37) / 16) / 100e9)
    kept = 4 * 64 * 512 * 16
    assert roofline.traffic(shape, True) == 4 * (floats + 4 * 2048 * (7 * 512 + 4 * 16) + 2 * kept)
    assert roofline.floor(shape, Rates(None, 1e9), False).seconds == pytest.approx(4 * floats / 1e9)


def test_the_share_is_floor_over_time(found):
    (case,) = found[0]["roofline"]
    if case["not_run"]:
        pytest.skip(case["not_run"])
    rates = Rates(case["multiply_adds_per_second"], case["copied_bytes_per_second"])
    for row, backward in zip(case["rows"], (False, True), strict=True):
        floor = roofline.floor(Shape(1, 40, 64, 4), rates, backward).seconds
        assert row["share"] == pytest.approx(floor / row["seconds"])
        assert 0 < row["share"] < 1


def hold_and_drop(megabytes):
    torch.ones(16)
    return extra_bytes(lambda: torch.ones(megabytes * 2**18).sum())


def hold_after_more(megabytes):
    """As `hold_and_drop`, in a process that held more before: memory of its own, not the allocator's."""
    with mmap(-1, 4 * megabytes * 2**20) as held:
        held[::4096] = bytes(len(held) // 4096)
    return hold_and_drop(megabytes)


def test_memory_is_told_for_every_implementation(monkeypatch):
    monkeypatch.setattr(scan, "in_fresh_process", lambda function, *arguments: function(*arguments))
    peers = [
        PEERS["chartscan chunked"],
        Peer("absent", PEERS["chartscan chunked"].prepare, missing=lambda: "gone"),
    ]
    case = scan.memory(peers, Shape(1, 512, 64, 4), False, 1, Counter(2))
    assert case["rows"][0]["bytes"] >= 0
    assert case["rows"][1] == {"name": "absent", "not_run": "gone"}


def test_extra_memory_is_that_of_the_call():
    assert in_fresh_process(hold_and_drop, 64) == pytest.approx(64 * 2**20, rel=0.1)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be forgotten")
def test_extra_memory_begins_with_what_is_held_and_not_with_the_most_ever_held():
    assert in_fresh_process(hold_after_more, 64) == pytest.approx(64 * 2**20, rel=0.1)
