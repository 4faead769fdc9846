"""Small datasets for the tests of the store: odd events, and a writer for them."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from chartscan.schema import EVENT_TYPES, EVENTS, check
from chartscan.store.config import StoreConfig
from chartscan.store.writer import DatasetWriter


def random_events(rows: int, subjects: int, seed: int = 0) -> pa.Table:
    """EVENTS in no order, with ties, nulls and repeats."""
    rng = np.random.default_rng(seed)
    days = rng.integers(0, 50, rows) * 86_400_000_000 + 1_600_000_000_000_000
    static = rng.random(rows) < 0.1
    time = pa.array(days, pa.int64(), mask=static).cast(pa.timestamp("us"))
    known = pa.array(days + rng.integers(0, 3, rows) * 3_600_000_000, pa.int64(), mask=static)
    columns = {
        "subject_id": (rng.integers(0, subjects, rows) * 2_654_435_761) % (1 << 40),
        "time": time,
        "code": np.char.add("LOINC//", rng.integers(0, 40, rows).astype(str)),
        "numeric_value": pa.array(rng.normal(size=rows).round(1), mask=rng.random(rows) < 0.3),
        "text_value": pa.array(rng.choice(["é", "a", "", "NEG"], rows), mask=rng.random(rows) < 0.8),
        "unit": pa.array(rng.choice(["mg/dL", "mmol/L"], rows), mask=rng.random(rows) < 0.5),
        "comparator": pa.array(rng.choice(["<", ">"], rows), mask=rng.random(rows) < 0.9),
        "event_type": rng.choice(EVENT_TYPES, rows),
        "encounter_id": pa.array(rng.integers(0, 99, rows).astype(str), mask=rng.random(rows) < 0.2),
        "available_time": known.cast(pa.timestamp("us")),
    }
    return check(pa.table(columns), EVENTS, "events")


def write(
    out: Path, *tables: pa.Table, overwrite: bool = False, bad_line: str = "", **settings: object
) -> None:
    """Publish `tables` at `out`; `settings` are fields of StoreConfig; `bad_line` is put into quarantine, and
    as many of its rows as it has letters are written and amended away."""
    config = StoreConfig(**settings)  # type: ignore[arg-type]
    with DatasetWriter(out, source="test", config=config, overwrite=overwrite) as writer:
        for table in tables:
            writer.write(table)
        if bad_line:
            places = np.arange(len(bad_line))
            writer.write(tables[0].slice(0, len(places)), places)
            writer.amend(places, places[:0], places[:0])
            writer.quarantine.put(bad_line, "a.ndjson", 1, 0, b"{")
