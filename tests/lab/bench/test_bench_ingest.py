"""The ingest bench on a tiny input: that it measures every mode and says so, not how fast anything is."""

from chartscan_lab.bench import ingest


def result(mode, speed, size_mb=200):
    measured = {"seconds": 1.25, "per_second": speed, "per_cpu_second": speed + 5, "peak_mb": 1188}
    return {"size_mb": size_mb, "mode": mode} | measured


def test_the_table_shows_the_median_round_and_the_ratios_to_the_peers():
    rounds = [result("whole", s) for s in (100, 300, 150_000)] + [result("json", 200), result("duckdb", 600)]
    rows = [line.split() for line in ingest.table({"results": rounds}).splitlines()]
    assert rows[1] == ["whole", "200", "300", "305", "1.25", "1,188", "1.50", "0.50"]
    assert rows[2] == ["json", "200", "200", "205", "1.25", "1,188"]
    assert rows[3] == ["duckdb", "200", "600", "605", "1.25", "1,188"]


def test_every_mode_reads_every_observation(tmp_path):
    found = ingest.run((1,), out=tmp_path / "bench.json", folder=tmp_path)
    assert [row["mode"] for row in found["results"]] == list(ingest.MODES)
    assert {row["rows"] for row in found["results"]} == {found["results"][0]["observations"]}
    assert (tmp_path / "bench.json").is_file()
