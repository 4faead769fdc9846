"""The bench of training cost fits exponents rightly, and EHRMamba's memory is linear where it is measured."""

import pytest

from chartscan_lab.bench.lengths import exponent, run, table


def test_the_exponent_of_a_power_law_is_its_power():
    lengths = [512, 1024, 2048, 8192]
    assert exponent(lengths, [3 * n for n in lengths]) == pytest.approx(1)
    assert exponent(lengths, [0.1 * n**2 for n in lengths]) == pytest.approx(2)
    assert exponent([512], [1.0]) is None


def test_a_small_run_is_linear_in_time_and_memory():
    result = run(lengths=(512, 2048), peer_lengths=(), repeats=2)
    assert result["time_exponent"] < 1.25  # the bench itself holds 1.1; a test machine may be busy
    assert result["memory_exponent"] < 1.1
    assert "2048" in table(result)
