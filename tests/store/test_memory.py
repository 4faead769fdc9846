import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, resource, sys
from pathlib import Path
import pyarrow as pa
import pyarrow.compute as pc
from hospital import random_events
from chartscan.store.config import StoreConfig
from chartscan.store.writer import DatasetWriter

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

chunk = random_events(20_000, 1_000)
note = pa.array([f"{i:0500}" for i in range(20_000)], pa.large_string())  # a wide column: 10 MB a chunk
chunk = chunk.set_column(chunk.schema.names.index("text_value"), "text_value", note)
bytes_in = 0
with DatasetWriter(Path(sys.argv[1]), source="test", config=StoreConfig(memory_mb=64, threads=2)) as writer:
    before = peak_mib()
    for copy in range(60):
        # every sixth copy belongs to one subject, so that this one alone is larger than the memory
        ids = pa.array([5] * chunk.num_rows) if copy % 6 == 0 else pc.add(chunk["subject_id"], copy)
        writer.write(chunk.set_column(0, "subject_id", ids))
        bytes_in += chunk.nbytes
print(json.dumps({"input_mib": bytes_in / 2**20, "grown_mib": peak_mib() - before}))
"""


def test_sorting_needs_far_less_memory_than_the_data(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=True)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["input_mib"] > 650
    assert found["grown_mib"] < 300  # 64 of it for counting, the rest Arrow and compression
