"""Unusable lines in a private folder: place, reason, and (if wanted) content.

The folder is `<dataset>/quarantine`: both are published in one step, so a dataset and its quarantine come
from the same run. It holds `records-<part>.jsonl`, `content-<part>.ndjson` (when
content is kept), `accounting.json` and `key`, the random key of the digests. The folder has mode 0700, its
files 0600. The manifest lists them, but they are no part of what it seals: they may be removed.

A run gathers its bad lines in its staging folder. When it fails, and so publishes nothing, they go to
`<dataset>.quarantine`, beside the dataset that stays if there is one, until a run succeeds. The key is handed
on, so that the same bad line keeps its digest. Of that folder only files of the names above are ever removed.
A folder that is a symbolic link, or belongs to another user, is refused.
"""

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import IO, Any

from chartscan.files import AS_IT_IS, check_own
from chartscan.store.folder import QUARANTINE, writing

KEY = "key"
KEY_BYTES = 32
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_OURS = ("records-*.jsonl", "content-*.ndjson", "accounting.json")


def quarantine_folder(dataset: Path) -> Path:
    """Return the folder of the quarantine in a dataset."""
    return dataset / QUARANTINE


def failed_quarantine_folder(out: Path) -> Path:
    """Return the folder where a failed run for `out` leaves its bad lines."""
    return out.with_name(f"{out.name}.{QUARANTINE}")


def clear_quarantine(folder: Path) -> None:
    """Remove an earlier run's records; its key and foreign files stay."""
    check_own(folder)
    if folder.is_dir():
        for path in [path for pattern in _OURS for path in folder.glob(pattern)]:
            if path.is_file():
                path.unlink()


def remove_quarantine(folder: Path) -> None:
    """Remove an earlier run's records and key, and the folder if empty."""
    clear_quarantine(folder)
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {KEY}:
        (folder / KEY).unlink(missing_ok=True)
        folder.rmdir()


def hand_on_key(earlier: Path, run: Path) -> bool:
    """Give a new run's folder the key of an earlier one; else False."""
    check_own(earlier)
    check_own(earlier / KEY)
    if not (earlier / KEY).is_file():
        return False
    run.mkdir(mode=0o700)
    with writing(run / KEY), _private(run / KEY) as file:
        file.write((earlier / KEY).read_bytes())
    return True


def keep_quarantine(run: Path, folder: Path) -> None:
    """Move a failed run's bad lines to `folder`, replacing earlier ones."""
    remove_quarantine(folder)
    if not run.is_dir():
        return
    if not folder.exists():
        os.rename(run, folder)
        return
    for path in sorted(run.iterdir()):  # beside files that are not ours
        os.replace(path, folder / path.name)


class Quarantine:
    """Appends bad lines to `folder`; parallel workers have separate `part`s."""

    def __init__(self, folder: Path, keep_content: bool = True, part: str = "main"):
        self.folder = folder
        self.keep_content = keep_content
        self.part = part
        self.count = 0
        self._key = b""
        self._records: IO[bytes] | None = None
        self._content: IO[bytes] | None = None
        self._content_offset = 0

    def put(self, reason: str, file: str, line: int, byte_offset: int, raw: bytes) -> None:
        """Record one bad line, counted from 1, and its `byte_offset` in the decompressed stream."""
        if self._records is None:
            self._open()
        assert self._records is not None
        digest = hmac.new(self._key, raw, hashlib.sha256).hexdigest()
        place = {"reason": reason, "file": file, "line": line, "byte_offset": byte_offset, "digest": digest}
        with writing(self.folder / f"records-{self.part}.jsonl"):
            self._records.write(json.dumps(place | self._keep(raw)).encode() + b"\n")
        self.count += 1

    def _keep(self, raw: bytes) -> dict[str, int]:
        if self._content is None:
            return {}
        kept = {"content_offset": self._content_offset, "content_bytes": len(raw)}
        self._content_offset += self._content.write(raw + b"\n")
        return kept

    def _open(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        with writing(self.folder / KEY):
            self._key = _read_or_make_key(self.folder / KEY)
        self._records = _private(self.folder / f"records-{self.part}.jsonl")
        if self.keep_content:
            self._content = _private(self.folder / f"content-{self.part}.ndjson")
            self._content_offset = self._content.tell()

    def finish(self, counts: dict[str, Any]) -> None:
        """Close, and keep the accounting beside the records, for a run that publishes nothing.

        Without any record (of other parts neither) the folder goes away.
        """
        self.close()
        if not self.folder.is_dir():
            return
        if any(self.folder.glob("records-*.jsonl")):
            accounting = self.folder / "accounting.json"
            with writing(accounting), _private(accounting) as file:
                file.write(json.dumps(counts, indent=1).encode())
        else:
            remove_quarantine(self.folder)

    def close(self) -> None:
        """Flush and close both files, the second also if the first fails."""
        files, self._records, self._content = (self._records, self._content), None, None
        failure = None
        for file in [file for file in files if file is not None]:
            try:
                with writing(Path(file.name)):
                    file.close()
            except OSError as err:
                failure = failure or err
        if failure is not None:
            raise failure


def _private(path: Path) -> IO[bytes]:
    """`path` opened for appending, readable by its owner alone; a symbolic link is an OSError."""
    return open(path, "ab", opener=lambda name, _: os.open(name, _APPEND | AS_IT_IS, 0o600))


def _read_or_make_key(path: Path) -> bytes:
    """The key of the folder; when two workers come at once, the first to write it wins."""
    if not path.exists():
        draft = path.with_name(f"key-{os.getpid()}-{secrets.token_hex(4)}")
        with _private(draft) as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()
