"""What may be said about the sets of the challenge: when they begin, and how they are split."""

from datetime import datetime

import msgspec

from chartscan.sources.physionet2012.splits import parsed_splits

MOST_MB = 1 << 16


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the PhysioNet/CinC Challenge 2012 source."""

    # Times in the files are hours and minutes since admission; this is the moment of every admission (UTC).
    time_zero: str = "2012-01-01T00:00:00"
    # Which sets, or shares of them, are for what: "train=a:0.8,tuning=a:0.2,held_out=b"; None: the store's
    # random shares of everything.
    splits: str | None = None
    batch_mb: int = 8  # text parsed at once
    record_limit_mb: int = 16  # a record file is some kilobytes
    archive_limit_mb: int = 1024  # of an archive when unpacked; it is held in memory

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        if _moment(self.time_zero) is None:
            raise ValueError(
                "time_zero: expected a moment in UTC without an offset, such as 2012-01-01T00:00"
            )
        if self.splits is not None:
            parsed_splits(self.splits)
        limits = self.batch_mb, self.record_limit_mb, self.archive_limit_mb
        if not all(1 <= limit <= MOST_MB for limit in limits):
            raise ValueError(f"batch_mb, record_limit_mb and archive_limit_mb lie between 1 and {MOST_MB}")


def _moment(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is None else None
