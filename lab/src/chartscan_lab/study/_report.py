"""What a study found, and the two files it is written to."""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from chartscan import files


class Report(NamedTuple):
    """To read, and as plain values for JSON."""

    markdown: str
    values: dict[str, Any]


def save(out: Path, name: str, report: Report) -> Path:
    """Writes OUT/<name>.json and OUT/<name>.md, sealed together; gives the path of the latter."""
    files.write_report(
        out / f"{name}.json", msgspec.json.encode(report.values), {f"{name}.md": report.markdown.encode()}
    )
    return out / f"{name}.md"
