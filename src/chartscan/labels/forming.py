"""How hospital stays are formed for labels: by the settings of `label`, a site file, or the dataset's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from chartscan.cohort import StayConfig
from chartscan.errors import ConfigError
from chartscan.settings import with_settings
from chartscan.site import Vocabulary, nearest, read_site
from chartscan.store.dataset import Dataset

PREFIX = "stays."


def stay_config(stays: Mapping[str, Any], where: str = PREFIX) -> StayConfig:
    """The section `stays` of a site file as settings; ConfigError that names the wrong one."""
    known = [name for name in StayConfig.__struct_fields__ if name != "version"]
    for name in stays:
        if name not in known:
            raise ConfigError(f"{where}{name}: no such setting.{nearest(name, known)}")
    words = {name: [str(w).upper() for w in v] if isinstance(v, list) else v for name, v in stays.items()}
    try:
        return msgspec.convert(words, StayConfig, strict=False)
    except msgspec.ValidationError as err:
        raise ConfigError(f"{where.rstrip('.')}: {err}.") from None


def stays_of(
    dataset: Dataset, site: Path | None = None, settings: Sequence[str] = ()
) -> tuple[StayConfig, list[str]]:
    """How to form stays, and the settings that are not about them.

    Those of `settings` that begin with "stays." win over the site file, and that over the one the dataset was
    made with.
    """
    own = dataset.manifest.get("site", {}).get("stays", {})
    formed = stay_config(read_site(site).stays if site else own, f"{site or dataset.path}: stays.")
    about = [s.removeprefix(PREFIX) for s in settings if s.startswith(PREFIX)]
    try:
        formed = with_settings(formed, about)
    except ConfigError as err:
        raise ConfigError(str(err).replace("--set ", f"--set {PREFIX}", 1)) from None
    return formed, [s for s in settings if not s.startswith(PREFIX)]


def vocabulary_note(dataset: Dataset, site: Path | None) -> str:
    """What to say of a site file whose words are not those the dataset was read with; else empty."""
    if site is None:
        return ""
    words = msgspec.to_builtins(read_site(site).vocabulary)
    own = dataset.manifest.get("site", {}).get("vocabulary") or msgspec.to_builtins(Vocabulary())
    if words in (own, msgspec.to_builtins(Vocabulary())):
        return ""
    return f"{site}: its vocabulary is not the dataset's. Words are read by ingest: ingest again with --site"
