"""What every source promises merely by being in chartscan/sources."""

import inspect
import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from chartscan.errors import DataError
from chartscan.find import find, names
from chartscan.store.validate import violations
from chartscan.store.writer import DatasetWriter

SOURCES = names("sources")
CASES_FOLDER = Path(__file__).parent.parent / "cases"


class Case(NamedTuple):
    """A small input, and how it is written anew (into a folder) with lines and files in another order."""

    folder: Path
    shuffle: Callable[[Path, Path, random.Random], None]


def shuffle_ndjson(folder, copy, rng):
    """The lines of all files in another order, dealt out to files of other names."""
    files = sorted(folder.rglob("*.ndjson"))
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    rng.shuffle(lines)
    copy.mkdir()
    for number in range(len(files)):
        dealt = lines[number :: len(files)]
        (copy / f"{rng.random()}.ndjson").write_bytes(b"".join(line + b"\n" for line in dealt))


def shuffle_sets(folder, copy, rng):
    """The lines below each header in another order, one set in an archive, in another order too."""
    shuffled = {}
    for file in sorted(folder.rglob("*.txt")):
        head, *lines = file.read_bytes().splitlines(keepends=True)
        rng.shuffle(lines)
        shuffled[file.relative_to(folder).as_posix()] = head + b"".join(lines)
    archived = [name for name in shuffled if name.startswith("set-a/")]
    rng.shuffle(archived)
    copy.mkdir()
    with tarfile.open(copy / "set-a.tar.gz", "w:gz") as archive:
        for name in archived:
            member = tarfile.TarInfo(name)
            member.size = len(shuffled[name])
            archive.addfile(member, io.BytesIO(shuffled.pop(name)))
    for name, content in shuffled.items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes(content)


CASES = {
    "fhir": Case(CASES_FOLDER / "fhir" / "export", shuffle_ndjson),
    "physionet2012": Case(CASES_FOLDER / "physionet2012" / "sets", shuffle_sets),
}


def case(name):
    if name not in CASES:
        pytest.fail(f"Source {name!r} has no case: put a small input into tests/cases/, name it in CASES.")
    return CASES[name]


def ingest(name, folder, out):
    """The files of the dataset, by name; the manifest apart, which tells when and from which files."""
    source = find("sources", name)
    with DatasetWriter(out, source=name) as writer:
        source.read(folder, writer, source.Config())
    files = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert files.pop("manifest.json")
    return files


def test_sources_are_found():
    assert {"fhir", "physionet2012"} <= set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_has_settings_a_reader_and_says_what_it_reads(name):
    source = find("sources", name)
    assert source.__doc__
    assert source.read.__doc__
    assert source.Config.__doc__
    parameters = inspect.signature(source.read).parameters
    assert list(parameters) == ["path", "writer", "config", "progress"]
    assert source.Config() == source.Config()


@pytest.mark.parametrize("name", SOURCES)
def test_an_empty_folder_is_refused_and_nothing_is_published(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        ingest(name, tmp_path / "empty", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["empty"]


@pytest.mark.parametrize("name", SOURCES)
def test_the_case_of_a_source_becomes_a_valid_dataset(tmp_path, name):
    assert ingest(name, case(name).folder, tmp_path / "out")
    assert violations(tmp_path / "out") == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SOURCES)
def test_the_order_of_lines_and_files_does_not_change_a_byte(tmp_path, name, seed):
    expected = ingest(name, case(name).folder, tmp_path / "out")
    case(name).shuffle(case(name).folder, tmp_path / "shuffled", random.Random(seed))
    found = ingest(name, tmp_path / "shuffled", tmp_path / "again")
    assert found.keys() == expected.keys()
    assert [file for file in found if found[file] != expected[file]] == []


@pytest.mark.parametrize("name", SOURCES)
def test_progress_ends_at_its_total(tmp_path, name):
    source, told = find("sources", name), []
    with DatasetWriter(tmp_path / "out", source=name) as writer:
        source.read(case(name).folder, writer, None, lambda done, total: told.append((done, total)))
    done, totals = [d for d, _ in told], {t for _, t in told}
    assert done == sorted(done)
    assert totals == {done[-1]}
