"""A site's secret key, which turns source ids into unguessable ids.

Whoever holds a dataset or a run but not the key cannot test whether a known patient is in it; the site itself
gets the same subject for the same patient, in all its datasets, and recognises in a run those that it learned
from. The key is a file outside of both: CHARTSCAN_SITE_KEY names it, else it is made at first use as
~/.config/chartscan/site.key, for its owner alone. Only its fingerprint is ever written elsewhere.

CHARTSCAN_SITE_KEY=open means no key: for simulated and public records, whose results are to be the same on
every machine. Then anyone can compute the ids.
"""

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from hashlib import blake2b
from pathlib import Path

from chartscan.errors import ConfigError
from chartscan.files import AS_IT_IS, WINDOWS, owned

VARIABLE = "CHARTSCAN_SITE_KEY"
OPEN = "open"
KEY_BYTES = 32
_REMEDY = f"Restore it from a copy, or name the right file with {VARIABLE}."
_open: ContextVar[bool] = ContextVar("open", default=False)


@contextmanager
def open_ids() -> Iterator[None]:
    """Within, there is no key: for invented records, such as those of the demonstration."""
    token = _open.set(True)
    try:
        yield
    finally:
        _open.reset(token)


def is_open() -> bool:
    """Whether ids are made without a key."""
    return _open.get() or os.environ.get(VARIABLE) == OPEN


def site_key() -> bytes:
    """Return the site key, made at first use (ConfigError: unusable); empty where open."""
    return b"" if is_open() else _key(key_path())


def key_path() -> Path:
    """The file that holds the key."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "chartscan" / "site.key"


def fingerprint() -> str:
    """Return a fingerprint that identifies the key, or `open` without one."""
    key = site_key()
    return blake2b(b"fingerprint", key=key, digest_size=8).hexdigest() if key else OPEN


def check_key(wanted: str, of: object) -> None:
    """Raise ConfigError unless `of` was made with this key (fingerprint `wanted`)."""
    if wanted != fingerprint():
        raise ConfigError(
            f"{of} was made with another site key ({wanted}, here {fingerprint()}): its patients cannot be "
            f"recognised. Name its key file with {VARIABLE}, or set {VARIABLE}={OPEN} if it has none."
        )


@cache
def _key(path: Path) -> bytes:
    if not os.path.lexists(path):
        _make(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | AS_IT_IS)
    except OSError as err:
        raise ConfigError(f"{path}: the site key cannot be read ({err.strerror}). {_REMEDY}") from err
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        for_others = about.st_mode & 0o077 and not WINDOWS  # whose files have no such mode
        if not stat.S_ISREG(about.st_mode) or not owned(about) or for_others:
            raise ConfigError(
                f"{path}: the site key must be a file that its owner alone can read: chmod 600 {path}"
            )
        text = file.read(1000).strip()
    if not re.fullmatch(rb"[0-9a-f]{%d}" % (2 * KEY_BYTES), text):
        raise ConfigError(f"{path}: not a site key; expected {2 * KEY_BYTES} hexadecimal digits. {_REMEDY}")
    return bytes.fromhex(text.decode())


def _make(path: Path) -> None:
    """Puts a new key at `path`; when two come at once, the first wins."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
    except OSError as err:
        raise ConfigError(
            f"{path}: the site key cannot be made ({err.strerror}). Name a place for it with {VARIABLE}."
        ) from err
