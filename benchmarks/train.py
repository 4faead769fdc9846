"""Cost of a training step by sequence length: `python benchmarks/train.py [RESULT.json]`."""

import json
import sys
from pathlib import Path

from chartscan.recipes.bench_train import run, table

if __name__ == "__main__":
    result = run()
    print(table(result))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=2) + "\n")
