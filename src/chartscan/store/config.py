"""Settings of the store, and the rule that says until when each subject was followed."""

from datetime import datetime

import msgspec


class ExportTime(
    msgspec.Struct, frozen=True, tag_field="rule", tag="export_time", forbid_unknown_fields=True
):
    """All subjects were followed until the time of the export (UTC)."""

    time: datetime


class DaysAfterLastEvent(
    msgspec.Struct, frozen=True, tag_field="rule", tag="days_after_last_event", forbid_unknown_fields=True
):
    """Each subject was followed until `days` after the last event; 0 is the cautious choice."""

    days: int = 0

    def __post_init__(self) -> None:
        """Refuse a follow-up that ends before the last event."""
        if self.days < 0:
            raise ValueError("days after the last event must not be negative")


FollowUp = ExportTime | DaysAfterLastEvent


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a dataset is written; only `shard_rows`, `seed` and the fractions change its content."""

    shard_rows: int = 250_000  # a shard is closed at the first subject that ends at or after this many rows
    memory_mb: int = 256  # of counting and sorting, roughly; beyond it rows go to disk
    threads: int = 0  # of counting; 0 means every core
    seed: int = 0  # of the splits
    train_fraction: float = 0.70
    tuning_fraction: float = 0.15  # the rest is held out
    error_budget: float = 0.001  # largest share of the lines of a type that may go to quarantine
    strict: bool = False  # no line may go to quarantine
    keep_quarantine_content: bool = True
    follow_up: FollowUp | None = None  # set by the user; wins over what the source finds

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns ValueError into its own validation error."""
        if self.shard_rows < 1 or self.memory_mb < 64 or self.threads < 0:
            raise ValueError("shard_rows must be at least 1, memory_mb at least 64, threads at least 0")
        if not 0 <= self.error_budget <= 1:
            raise ValueError("error_budget must lie between 0 and 1")
        if min(self.train_fraction, self.tuning_fraction) < 0 or sum(self.fractions[:2]) > 1 + 1e-9:
            raise ValueError("train_fraction and tuning_fraction must not be negative nor exceed 1 together")

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Shares of train, tuning and held_out."""
        rest = max(0.0, 1.0 - self.train_fraction - self.tuning_fraction)
        return self.train_fraction, self.tuning_fraction, rest

    @property
    def bytes_at_once(self) -> int:
        """Return bytes to sort at once: a quarter of `memory_mb`, since sorting copies."""
        return self.memory_mb << 18

    @property
    def budget(self) -> float:
        """The error budget in use: 0 when strict."""
        return 0.0 if self.strict else self.error_budget
