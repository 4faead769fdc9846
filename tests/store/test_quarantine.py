import hashlib
import hmac
import json
import logging
from pathlib import Path

from chartscan.store.quarantine import Quarantine, clear_quarantine

SECRET = b'{"resourceType": "Patient", "name": "Erika \xff Mustermann"'


def records(folder: Path, part: str = "main") -> list[dict]:
    return [json.loads(line) for line in (folder / f"records-{part}.jsonl").read_bytes().splitlines()]


def test_a_record_says_where_the_line_is_and_the_content_lies_apart(tmp_path):
    quarantine = Quarantine(tmp_path / "q")
    quarantine.put("B02 malformed_json", "p.ndjson", 7, 512, b"first")
    quarantine.put("B07 invalid_utf8", "p.ndjson", 9, 700, SECRET)
    quarantine.close()
    first, second = records(tmp_path / "q")
    key = (tmp_path / "q" / "key").read_bytes()
    assert (second["reason"], second["file"], second["line"], second["byte_offset"]) == (
        "B07 invalid_utf8",
        "p.ndjson",
        9,
        700,
    )
    assert second["digest"] == hmac.new(key, SECRET, hashlib.sha256).hexdigest()
    content = (tmp_path / "q" / "content-main.ndjson").read_bytes()
    start = second["content_offset"]
    assert content[start : start + second["content_bytes"]] == SECRET
    assert content[: first["content_bytes"]] == b"first"


def test_folder_and_files_are_for_their_owner_only(tmp_path):
    quarantine = Quarantine(tmp_path / "q")
    quarantine.put("B02 malformed_json", "p.ndjson", 1, 0, SECRET)
    quarantine.finish({"lines": []})
    assert (tmp_path / "q").stat().st_mode & 0o777 == 0o700
    assert len(list((tmp_path / "q").iterdir())) == 4
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "q").iterdir()} == {0o600}


def test_nothing_of_the_line_is_kept_when_content_is_off_nor_logged(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        quarantine = Quarantine(tmp_path / "q", keep_content=False)
        quarantine.put("B02 malformed_json", "p.ndjson", 1, 0, SECRET)
        quarantine.close()
    assert not caplog.records
    assert not any(b"Mustermann" in p.read_bytes() for p in (tmp_path / "q").iterdir())
    assert "content_offset" not in records(tmp_path / "q")[0]


def test_the_same_bad_line_has_the_same_digest_in_the_next_run_and_another_elsewhere(tmp_path):
    digests = []
    for folder in ("q", "q", "other"):
        clear_quarantine(tmp_path / folder)
        quarantine = Quarantine(tmp_path / folder)
        quarantine.put("B02 malformed_json", "p.ndjson", 1, 0, SECRET)
        quarantine.finish({})
        digests += [r["digest"] for r in records(tmp_path / folder)]
    assert len(digests) == 3
    assert digests[0] == digests[1] != digests[2]


def test_workers_write_side_by_side_with_one_key(tmp_path):
    workers = [Quarantine(tmp_path / "q", part=f"{i}") for i in range(3)]
    for worker in workers:
        worker.put("B02 malformed_json", "p.ndjson", 1, 0, SECRET)
    for worker in workers:
        worker.close()
    assert len({records(tmp_path / "q", f"{i}")[0]["digest"] for i in range(3)}) == 1


def test_a_clean_run_leaves_no_folder(tmp_path):
    quarantine = Quarantine(tmp_path / "q")
    quarantine.put("B02 malformed_json", "p.ndjson", 1, 0, SECRET)
    quarantine.finish({})
    clear_quarantine(tmp_path / "q")
    Quarantine(tmp_path / "q").finish({})
    assert not (tmp_path / "q").exists()
