"""Archives that cannot be trusted are refused whole; nothing is published, and nothing unpacked to disk."""

import contextlib
import io
import random
import tarfile
import zipfile

import pytest
from challenge_sets import folder, ingest, record, tar, zipped

from chartscan.errors import DataError
from chartscan.sources.physionet2012.folder import survey
from chartscan.sources.physionet2012.members import members
from chartscan.sources.physionet2012.parameters import Config

FILES = {f"set-a/{i}.txt": record(i, *(f"{h:02}:00,HR,{60 + i}" for h in range(48))) for i in range(1, 40)}


def refused(tmp_path, name, content, match):
    path = folder(tmp_path / "sets", {name: content, "set-b/99.txt": record(99)})
    with pytest.raises(DataError, match=match) as caught:
        ingest(path, tmp_path / "out")
    assert name in str(caught.value)
    assert not (tmp_path / "out").exists()


def middle_out(content):
    """`content` with some bytes in its middle turned over."""
    at = len(content) // 2
    return content[:at] + bytes(b ^ 0xFF for b in content[at : at + 64]) + content[at + 64 :]


def test_no_flipped_byte_of_an_archive_ends_in_an_unexpected_error(tmp_path):
    rng = random.Random(0)
    whole = {"s.tar.gz": tar(FILES), "s.tar": tar(FILES, "w")[:4096], "s.zip": zipped(FILES)}
    for number in range(150):
        name = rng.choice(list(whole))
        content = bytearray(whole[name])
        content[rng.randrange(len(content))] = rng.randrange(256)
        path = folder(tmp_path / str(number), {name: bytes(content)})
        files, account = survey(path)
        with contextlib.suppress(DataError):
            list(members(files, path, Config(), account))


def test_a_zip_whose_directory_lies_before_its_begin_is_refused(tmp_path):
    content = bytearray(zipped(FILES))
    content[-10:-6] = b"\xff\xff\xff\x7f"  # size of the directory
    refused(tmp_path, "set-a.zip", bytes(content), "is damaged or no archive")


DAMAGED = {
    "cut.tar.gz": tar(FILES)[:-200],
    "cut-at-a-member.tar": tar(FILES, "w")[: 512 * 10],
    "no-end.tar": tar(FILES, "w").rstrip(b"\0"),
    "header-in-the-middle.tar": tar(FILES, "w")[: 512 * 9] + b"x" * 512 + tar(FILES, "w")[512 * 10 :],
    "flipped.tar.gz": middle_out(tar(FILES)),
    "trailing.tar.gz": tar(FILES) + b"junk",
    "empty.tar.gz": b"",
    "words.zip": b"no archive",
    "cut.zip": zipped(FILES)[:-100],
    "flipped.zip": middle_out(zipped(FILES)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_archive_is_refused(tmp_path, name):
    refused(tmp_path, name, DAMAGED[name], "is damaged or no archive")


@pytest.mark.parametrize("path", ["../7.txt", "set-a/../../7.txt", "/set-a/7.txt", "C:\\7.txt", "..\\7.txt"])
@pytest.mark.parametrize("name", ["set-a.tar.gz", "set-a.zip"])
def test_paths_that_lead_outside_are_refused(tmp_path, name, path):
    files = FILES | {path: record(7)}
    refused(tmp_path, name, tar(files) if name.endswith("gz") else zipped(files), "leads out")
    assert sorted(p.name for p in tmp_path.rglob("7.txt")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo("set-a/7.txt")
        member.type, member.linkname = kind, "/etc/hostname"
        archive.addfile(member)
    refused(tmp_path, "set-a.tar.gz", out.getvalue(), "no plain file")


def test_links_in_a_zip_are_refused(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("set-a/7.txt")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/hostname")
    refused(tmp_path, "set-a.zip", out.getvalue(), "no plain file")


@pytest.mark.parametrize("name", ["set-a.tar.gz", "set-a.zip"])
def test_an_archive_that_unpacks_to_more_than_its_limit_is_refused(tmp_path, name):
    bomb = {f"set-a/{i}.txt": bytes(1 << 20) for i in range(3)}
    path = folder(tmp_path / "sets", {name: tar(bomb) if name.endswith("gz") else zipped(bomb)})
    with pytest.raises(DataError, match="larger than 2 MB"):
        ingest(path, tmp_path / "out", archive_limit_mb=2)
    large = {"set-a/1.txt": bytes((1 << 20) + 1)}
    folder(path, {name: tar(large) if name.endswith("gz") else zipped(large)})
    with pytest.raises(DataError, match="holds a text file over 1 MB"):
        ingest(path, tmp_path / "out", record_limit_mb=1)


def test_a_loose_file_over_the_limit_is_refused(tmp_path):
    path = folder(tmp_path / "sets", {"set-a/1.txt": bytes((1 << 20) + 1)})
    with pytest.raises(DataError, match=r"set-a/1\.txt holds a text file over 1 MB"):
        ingest(path, tmp_path / "out", record_limit_mb=1)


@pytest.mark.parametrize(
    "files",
    [
        {"set-a/1.txt": record(1), "set-b/1.txt": record(1)},
        {"set-a/1.txt": record(1), "set-a.zip": zipped({"set-a/1.txt": record(1, "01:00,HR,1")})},
        {"set-a/1.txt": record(1), "set-a/001.txt": record(1)},
    ],
    ids=["two sets", "another version in the archive", "two names"],
)
def test_a_record_that_is_given_twice_is_an_error_and_no_merge(tmp_path, files):
    with pytest.raises(DataError, match="was read before"):
        ingest(folder(tmp_path / "sets", files), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("files", [{}, {"x.md": b"x"}, {"set-a/README.txt": b"x"}, {"set-a/1.txt": b"x\n"}])
def test_a_folder_without_records_is_refused(tmp_path, files):
    (tmp_path / "sets").mkdir()
    with pytest.raises(DataError, match="sets contains no"):
        ingest(folder(tmp_path / "sets", files), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="does not exist"):
        ingest(tmp_path / "elsewhere", tmp_path / "out")
