"""Catalogue B13-B19: files of an export are read, set aside with a reason, or refused."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile

import pyarrow as pa
import pytest

from chartscan.sources.fhir import folder as folder_module
from fhir_export import PATIENT, encounter, ingest, observation
from ingest_run import CONDITION, EXPORT, LENIENT, MANIFEST, TIME, ndjson, observations

MORE = ndjson(*observations(3, "more"))


def zstd(data: bytes) -> bytes:
    """Data packed by zstd."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}
NAMES = [
    "More.NDJSON",
    "more.jsonl",
    "More.json",
    "more.Ndjson.gz",
    "Observation.ndjson.1",
    "part-00000",
    "More.txt",
    "sub/folder/1.Observation.ndjson",
]


@pytest.mark.parametrize("name", NAMES)
def test_data_is_read_whatever_its_name(run, name):
    outcome = run({name: MORE})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 5)
    assert outcome.files[name] == ("read", "")


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("name", ["more.ndjson.{}", "more.ndjson", "More.json.{}"])
def test_b13_packed_files_are_read_by_their_first_bytes(run, ending, name):
    outcome = run({name.format(ending): PACKED[ending](MORE)})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 5)


@pytest.mark.parametrize("ending", PACKED)
def test_b13_several_members_in_one_file_are_read(run, ending):
    pack = PACKED[ending]
    parts = [pack(ndjson(record)) for record in observations(3, "more")]
    outcome = run({f"more.ndjson.{ending}": b"".join(parts)})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 5)


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("damage", ["cut", "junk"])
def test_b13_nothing_of_a_broken_archive_is_used(run, ending, damage):
    packed = PACKED[ending](ndjson(*observations(3000, "more")))
    broken = packed[: len(packed) // 2] if damage == "cut" else packed + b"junk junk"
    outcome = run({f"more.ndjson.{ending}": broken})
    assert (outcome.code, outcome.manifest) == (4, {})
    assert f"more.ndjson.{ending}, unrouted" in outcome.error
    assert "B13 broken_" in outcome.error
    outcome = run({f"more.ndjson.{ending}": broken}, *LENIENT)
    assert len(outcome.of("observation")) == 2


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_b13_zeros_between_and_after_members_lose_nothing(run, ending):
    pack = PACKED[ending]
    first, second = (pack(ndjson(record)) for record in observations(2, "more"))
    outcome = run({f"more.ndjson.{ending}": first + bytes(4) + second + bytes(512)})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 4)


@pytest.mark.parametrize("ending", ["bz2", "xz"])
def test_b13_a_later_member_whose_beginning_is_damaged_is_told(run, ending):
    pack = PACKED[ending]
    first, second = (pack(ndjson(record)) for record in observations(2, "more"))
    outcome = run({f"more.ndjson.{ending}": first + b"\xff" + second[1:]})
    assert (outcome.code, outcome.manifest) == (4, {})
    assert "B13 broken_archive" in outcome.error


@pytest.mark.parametrize("name", ["a.ndjson.lzma", "2.ndjson.gz.gz", "Patient.json.lz4"])
def test_a_file_in_an_unknown_packing_that_is_named_like_data_is_told(run, name):
    outcome = run({name: b"\x5d\x00\x00\x80\x00\xff\xff"})
    assert outcome.code == 0
    assert f"Warning: {name} is set aside: no JSON." in outcome.out


def test_b13_a_plain_file_named_gz_is_read(run):
    outcome = run({"more.ndjson.gz": MORE})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 5)


@pytest.mark.parametrize("ending", PACKED)
def test_b14_an_archive_that_unpacks_to_far_more_than_its_size_stops_the_run(run, ending):
    bomb = PACKED[ending](MORE + b" " * 30_000_000)
    outcome = run({f"more.ndjson.{ending}": bomb}, "--set", "archive_limit_mb=8")
    assert (outcome.code, outcome.manifest) == (5, {})
    assert f"more.ndjson.{ending}: unpacks to more than 8 MB" in outcome.error
    assert "B14" in outcome.error


def test_b14_zip_and_tar_are_not_unpacked_but_named(run):
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("../evil.ndjson", MORE)
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("/evil.ndjson"))
    outcome = run({"export.zip": zipped.getvalue(), "more.tar.gz": tarred.getvalue()})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 2)
    reason = "archive: unpack it to have it read"
    assert outcome.files["export.zip"] == outcome.files["more.tar.gz"] == ("set aside", reason)
    assert f"Warning: export.zip is set aside: {reason}." in outcome.out


def test_b15_an_empty_file_is_told(run):
    outcome = run({"Procedure.ndjson": b"", "Immunization.ndjson.gz": gzip.compress(b"\n")})
    assert outcome.code == 0
    assert outcome.files["Procedure.ndjson"] == outcome.files["Immunization.ndjson.gz"] == ("read", "empty")
    assert "Warning: Procedure.ndjson is read: empty." in outcome.out


@pytest.mark.parametrize("kind", ["Encounter", "Condition"])
def test_b15_a_type_that_tasks_depend_on_and_that_is_missing_is_told(run, kind):
    outcome = run({f"{kind}.ndjson": None})
    assert outcome.code == 0
    assert f"Warning: The export contains no {kind}" in outcome.out
    assert run({f"{kind}.ndjson": None}, "--strict", "--overwrite").code == 5
    assert not run({f"{kind}.ndjson": None}, "--set", "allow_missing=true", "--overwrite").warnings


def test_b15_an_export_without_patients_is_refused(run):
    outcome = run({"Patient.ndjson": None})
    assert (outcome.code, outcome.manifest) == (5, {})
    assert "contains no Patient" in outcome.error


def test_b15_a_folder_with_nothing_to_read_says_what_it_holds(run):
    outcome = run(dict.fromkeys(EXPORT) | {"notes.md": b"x", "a.zip": b"PK\x03\x04"})
    assert outcome.code == 5
    assert "a.zip: archive: unpack it to have it read; notes.md: no JSON" in outcome.error


def test_b16_the_same_file_twice_gives_each_record_once(run):
    once = run()
    twice = {
        "Encounter.000.ndjson": EXPORT["Encounter.ndjson"],
        "Patient.ndjson.gz": gzip.compress(ndjson(PATIENT)),
    }
    outcome = run(twice, "--overwrite")
    assert outcome.code == 0
    assert outcome.events == once.events
    rows = outcome.manifest["accounting"]["lines"]
    assert sum(row["merged_duplicates"] for row in rows) == 2


def manifest(**fields) -> bytes:
    """A manifest with `fields` in place of its defaults."""
    return json.dumps(MANIFEST | fields).encode()


def output(name: str, kind: str, count: int | None = None) -> dict:
    """A file that a manifest names."""
    return {"type": kind, "url": f"https://x/bulk/{name}?sig=1"} | ({} if count is None else {"count": count})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"error": [output("err.ndjson", "OperationOutcome")]}, "names 1 files of errors"),
        (
            {"output": [output("Observation.ndjson", "Observation", 3)]},
            "says 3 Observation in Observation.ndjson; 2",
        ),
        (
            {"output": [output("Patient.ndjson", "Patient", 1), output("Procedure.ndjson", "Procedure")]},
            "1 of its files are missing (Procedure)",
        ),
        (
            {"output": [output("8d1c", "Observation", 1), output("77aa", "Observation", 2)]},
            "says 3 Observation; 2",
        ),
        ({"output": [output("8d1c", "Procedure")]}, "names files of type Procedure, and none"),
        ({"transactionTime": "yesterday"}, "transactionTime is not a time"),
    ],
)
def test_b18_a_manifest_that_says_otherwise_is_told_and_stops_a_strict_run(run, fields, text):
    outcome = run({"manifest.json": manifest(**fields)})
    assert outcome.code == 0
    assert text in outcome.out
    assert any(text in warning for warning in outcome.warnings)
    strict = run({"manifest.json": manifest(**fields)}, "--strict", "--overwrite")
    assert strict.code == 5
    assert text in strict.error


def test_b18_a_manifest_that_agrees_is_no_warning_however_files_are_named(run):
    counts = [output("1.Observation.ndjson.gz", "Observation", 2), output("Patient.NDJSON", "Patient", 1)]
    for fields in (
        {"output": [output("Observation.ndjson.gz", "Observation", 2), counts[1]]},
        {"output": [output("77aa", "Observation", 1), output("8d1c", "Observation", 1)]},
    ):
        outcome = run({"manifest.json": manifest(**fields)}, "--strict", "--overwrite")
        assert (outcome.code, outcome.warnings) == (0, [])


def follow_up(outcome) -> str:
    """When the follow-up ends."""
    return outcome.manifest["follow_up"]["time"]


def test_b18_of_several_manifests_the_latest_counts(run):
    earlier = manifest(transactionTime="2020-06-01T00:00:00+02:00")
    outcome = run({"a.json": earlier, "z/manifest.json": earlier})
    assert outcome.code == 0
    assert follow_up(outcome).startswith("2021-01-01T00:00:00")


def event(name: str, **detail) -> dict:
    """A line of the log of the bulk client."""
    return {"exportId": 1, "timestamp": TIME, "eventId": name, "eventDetail": detail}


LOG = ndjson(
    event("kickoff", exportUrl="https://x"),
    event("status_complete", transactionTime=TIME),
    event("export_complete", files=3),
)


@pytest.mark.parametrize("name", ["log.ndjson", "logs/2021.json"])
def test_the_log_of_the_bulk_client_is_no_data_and_tells_the_follow_up(run, name):
    outcome = run({name: LOG, "manifest.json": None})
    assert (outcome.code, outcome.warnings) == (0, [])
    assert outcome.files[name] == ("read", "log of the export client")
    assert not any(row["file"] == name for row in outcome.manifest["accounting"]["lines"])
    assert follow_up(outcome).startswith("2021-01-01T00:00:00")


def test_a_log_of_an_export_that_failed_is_told(run):
    log = ndjson(event("kickoff"), event("download_error", code=404))
    outcome = run({"log.ndjson": log})
    assert "log.ndjson: says 1 times that something failed." in outcome.warnings
    assert "log.ndjson: does not say that the export was completed." in outcome.warnings


@pytest.mark.parametrize(
    "name", ["Condition.ndjson.part", "Condition.ndjson.gz.tmp", "Unconfirmed 1.crdownload", "x.json.partial"]
)
def test_b19_a_file_that_is_still_being_written_stops_the_run(run, name):
    outcome = run({name: ndjson(CONDITION)})
    assert (outcome.code, outcome.manifest) == (5, {})
    assert f"{name}: still being written, as the name shows (B19)" in outcome.error


def test_b19_a_file_that_grows_while_it_is_read_stops_the_run(run, monkeypatch, tmp_path):
    check = folder_module.check_unchanged

    def grown(files):
        with (tmp_path / "export" / "Observation.ndjson").open("ab") as file:
            file.write(MORE)
        check(files)

    monkeypatch.setattr("chartscan.sources.fhir.check_unchanged", grown)
    outcome = run()
    assert (outcome.code, outcome.manifest) == (5, {})
    assert "Observation.ndjson: changed while being read" in outcome.error


SET_ASIDE = {
    "._Patient.ndjson": (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "hidden file"),
    "Fork.ndjson": (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "resource fork of a Mac"),
    ".Patient.ndjson.Ab12Cd": (MORE, "hidden file"),
    "Patient.ndjson.bak": (MORE, "backup copy"),
    "Patient.ndjson~": (MORE, "backup copy"),
    "README.md": (b"# Export", "no JSON"),
    "LICENSE": (b"Apache", "no JSON"),
    "labs.csv": (b"id;value\n", "no JSON"),
    "settings.json": (b'{"a": 1}', "JSON without FHIR"),
    "notes.tmp": (b"x", "temporary file"),
    "empty.txt": (b"", "empty"),
    "Observation.json": (b"<html>Bad gateway</html>", "no JSON"),
    "bundle.xml": (b'<Bundle xmlns="http://hl7.org/fhir">', "FHIR in XML, which is not read"),
}
DOUBTFUL = {"Observation.json", "bundle.xml"}


@pytest.mark.parametrize("name", SET_ASIDE)
def test_other_files_are_set_aside_with_a_reason(run, name):
    content, reason = SET_ASIDE[name]
    outcome = run({name: content})
    assert (outcome.code, len(outcome.of("observation"))) == (0, 2)
    assert outcome.files[name] == ("set aside", reason)
    assert f"set aside ({reason}): {name}" in outcome.out
    assert bool(outcome.warnings) == (name in DOUBTFUL)


def test_a_hidden_folder_is_not_entered_but_named(run):
    outcome = run({".git/Observation.ndjson": MORE, "__MACOSX/Observation.ndjson": MORE})
    assert len(outcome.of("observation")) == 2
    assert outcome.files[".git/"] == outcome.files["__MACOSX/"] == ("set aside", "hidden folder")


def test_links_are_read_or_named_and_never_followed_out_of_the_folder(run, tmp_path):
    (tmp_path / "outside.ndjson").write_bytes(MORE)
    folder = tmp_path / "export"
    (folder / ".store").mkdir(parents=True)
    (folder / ".store" / "blob").write_bytes(ndjson(*observations(1, "blob")))
    (folder / "linked.ndjson").symlink_to(folder / ".store" / "blob")
    (folder / "again.ndjson").symlink_to("Observation.ndjson")
    (folder / "outside.ndjson").symlink_to(tmp_path / "outside.ndjson")
    (folder / "nothing.ndjson").symlink_to(folder / "gone")
    (folder / "circle").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "elsewhere").symlink_to(tmp_path)
    outcome = run()
    assert (outcome.code, len(outcome.of("observation"))) == (0, 3)
    assert outcome.files["linked.ndjson"] == ("read", "")
    assert outcome.files["again.ndjson"] == ("set aside", "link to a file within")
    assert outcome.files["outside.ndjson"] == ("set aside", "link out of the folder")
    assert outcome.files["nothing.ndjson"] == ("set aside", "link to nothing")
    assert outcome.files["self"] == ("set aside", "link to nothing")
    assert outcome.files["circle/"] == ("set aside", "link to a folder within")
    assert outcome.files["elsewhere/"] == ("set aside", "link out of the folder")
    assert sum("link" in warning for warning in outcome.warnings) == 4


def test_a_pipe_is_never_opened(run, tmp_path):
    (tmp_path / "export").mkdir()
    os.mkfifo(tmp_path / "export" / "Observation.000.ndjson")
    outcome = run()
    assert outcome.code == 0
    assert outcome.files["Observation.000.ndjson"] == ("set aside", "not a regular file")


def test_a_file_that_must_not_be_read_is_named(run, monkeypatch):
    def refuse(file, limits):
        raise PermissionError(13, "Permission denied", str(file.path))

    monkeypatch.setattr(folder_module, "head_of", refuse)
    outcome = run()
    assert (outcome.code, outcome.manifest) == (5, {})
    assert "Condition.ndjson cannot be read: Permission denied" in outcome.error


def test_a_single_file_may_be_given(tmp_path):
    (tmp_path / ".one").write_bytes(ndjson(PATIENT, encounter(), observation()))
    assert len(ingest(tmp_path / ".one", tmp_path).of("observation")) == 1


def test_every_file_is_in_the_account_with_its_size(run, tmp_path):
    outcome = run({name: content for name, (content, _) in SET_ASIDE.items()})
    files = outcome.manifest["accounting"]["files"]
    found = {
        p.relative_to(tmp_path / "export").as_posix(): p
        for p in (tmp_path / "export").rglob("*")
        if p.is_file()
    }
    assert {file["name"] for file in files} == set(found)
    assert all(file["how"] in ("read", "set aside", "refused") for file in files)
    read = [file for file in files if file["how"] == "read"]
    assert all(file["bytes"] == found[file["name"]].stat().st_size for file in read)


def test_a_plain_export_says_nothing_about_its_files(run):
    outcome = run()
    assert outcome.warnings == []
    assert "set aside" not in outcome.out
    assert "Warning" not in outcome.out
