"""The package keeps its shape: what was won by moving and merging does not slip back."""

from pathlib import Path

import chartscan
from chartscan_lab.house import House, measured, reached, table

# What holds today, and no looser. Whoever makes a figure better makes its bound tighter; the goals stand in
# the table of `python -m chartscan_lab.house`.
AT_MOST = {"files": 276, "import_share": 0.087, "largest_room_share": 0.21, "lines": 38_330}
MODULES, SMALL_FILES, MEDIAN_LINES = 118, 1, 130


def test_files_imports_and_rooms_stay_within_what_was_reached():
    found = measured(Path(chartscan.__file__).parent)
    over = {name: getattr(found, name) for name, most in AT_MOST.items() if getattr(found, name) > most}
    assert not over
    assert len(found.small_files) <= SMALL_FILES
    assert found.median_lines >= MEDIAN_LINES
    assert (found.function_median, found.function_p90) <= (8, 25)


def test_training_a_network_reaches_no_more_modules_than_it_did():
    names = reached()
    assert len(names) <= MODULES
    assert not [name for name in names if name.startswith(("chartscan.sources.fhir", "chartscan.simulator"))]


def test_the_figures_are_counted_as_they_say(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a.py").write_text(
        'import os\nfrom b import (\n    c,\n)\n\n\ndef f():\n    """Said."""\n    return 1\n'
    )
    (tmp_path / "room" / "__init__.py").write_text("")
    (tmp_path / "b.py").write_text("x = 1\n" * 29 + "import a\n")
    found = measured(tmp_path)
    assert found == House(3, 37, 18.5, ("room/a.py",), 5 / 37, "b.py", 30 / 37, 2, 2)
    assert "files under 25 lines" in table(found, 7)
