"""The forecast bench at tiny sizes: what it writes."""

import json

from chartscan_lab.bench.command import run_bench


def test_the_result_holds_both_works_at_every_length(tmp_path):
    settings = ["histories=[5,40]", "events=3", "rows=2", "samples=2", "width=16", "rounds=2"]
    (table,) = run_bench("forecast", tmp_path / "f.json", [*settings, "vocabulary=60"])
    found = json.loads((tmp_path / "f.json").read_text())
    assert [work["work"] for work in found["works"]] == ["events", "reading and events"]
    for work in found["works"]:
        assert [row["history"] for row in work["rows"]] == [5, 40]
        assert all(row["seconds"] > 0 for row in work["rows"])
        assert work["rows"][0]["ratio"] == 1
        assert work["work"] in table
