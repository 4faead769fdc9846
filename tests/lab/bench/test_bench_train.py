"""The training bench at tiny sizes: what it writes, and that a peer which computes another thing is found."""

import json

import pytest
import torch

from chartscan_lab.bench import train
from chartscan_lab.bench.command import run_bench
from chartscan_lab.bench.models import config_of, random_batch
from chartscan_lab.bench.progress import Counter
from chartscan_lab.bench.timing import Plan, clock

SETTINGS = train.Settings(shapes=((2, 12),), width=24, layers=2, vocab_size=40, rounds=2, seconds=0.05)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "train.json"
    size = ["shapes=[[2,12]]", "width=24", "layers=2", "vocab_size=40", "threads=1"]
    effort = ["rounds=2", "seconds=0.05", "lengths=[32]", "peer_lengths=[]", "repeats=1"]
    (table,) = run_bench("train", out, size + effort)
    return json.loads(out.read_text()), table


def test_training_and_inference_name_every_model(found):
    result, table = found
    assert [case["work"] for case in result["throughput"]] == ["training", "inference, all logits"]
    for case in result["throughput"]:
        assert [row["name"] for row in case["rows"]] == [peer.name for peer in train.PEERS]
        assert all(row["name"] in table for row in case["rows"])
    assert [row["length"] for row in result["lengths"]["ehrmamba"]] == [32]
    assert "time exponent" in table


def test_tokens_a_second_and_ratios_are_those_of_the_medians(found):
    for case in found[0]["throughput"]:
        rows = [row for row in case["rows"] if not row["not_run"]]
        for row in rows:
            assert row["tokens_per_second"] == pytest.approx(2 * 12 / row["seconds"])
            assert row["ratio"] == pytest.approx(row["seconds"] / rows[0]["seconds"])


def test_all_comparable_models_have_the_same_first_loss(found):
    training = found[0]["throughput"][0]["rows"]
    losses = [row["loss"] for row in training if not row["not_run"] and row["comparable"]]
    assert len(losses) >= 3
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-3)


def test_models_of_one_size_learn_alike():
    batch = random_batch(2, 12, SETTINGS.vocab_size, config_of(SETTINGS.width, SETTINGS.layers))
    for peer in train.PEERS:
        if peer.loss_tolerance is not None and peer.missing() is None:
            step = peer.make(SETTINGS).train_step(batch)
            losses = torch.stack([step() for _ in range(4)])
            if peer.name == train.BASELINE:
                expected = losses
            assert losses[-1] < losses[0]
            torch.testing.assert_close(losses, expected, rtol=5e-3, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_a_planted_model_of_other_weights_is_found_and_not_timed(training):
    def make(settings):
        contender = train.make_ours()(settings)
        with torch.no_grad():
            contender.module.blocks[0].in_proj.weight.mul_(1.5)
        return contender

    peers = (train.PEERS[0], train.Peer("planted", make))
    case = train.measure(SETTINGS, peers, (2, 12), training, clock(1), Plan(2, 0.05), Counter(6))
    right, wrong = case["rows"]
    assert right["tokens_per_second"] > 0
    assert "differ" in wrong["not_run"]
    assert "seconds" not in wrong
