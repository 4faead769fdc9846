"""How records become time series: every setting of the representation, saved with the variables."""

from typing import Literal

import msgspec

from chartscan.errors import ConfigError

MOST_HOURS = 17_520  # two years: every hour of a stay has a row of its own
MOST_EVENTS = 1 << 22


class SeriesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of triplets and carried state."""

    window_hours: float = 48.0  # the carried state shows the last so many hours of a stay
    clip: tuple[float, float] = (0.001, 0.999)  # quantiles of train beyond which values are pulled in
    ranges: bool = True  # values outside the ranges of `series.ranges` are absent
    scaling: Literal["zscore", "rank_gauss"] = "zscore"
    min_subjects: int = 10  # train subjects that a variable or a static fact needs
    max_events: int = 1500  # latest events of a stay that a model of triplets sees
    derived: bool = False  # variables of `series.derived` beside those measured

    def __post_init__(self) -> None:
        if self.window_hours < 1 or self.min_subjects < 1 or self.max_events < 1:
            raise ConfigError("series.window_hours, min_subjects and max_events must be at least 1.")
        if self.window_hours > MOST_HOURS or self.max_events > MOST_EVENTS:
            raise ConfigError(
                f"series.window_hours must be at most {MOST_HOURS:,}, max_events at most {MOST_EVENTS:,}."
            )
        if not 0 <= self.clip[0] < self.clip[1] <= 1:
            raise ConfigError("series.clip: expected two quantiles, 0 <= low < high <= 1.")
