"""How histories become tokens: every setting of the representation, saved with the vocabulary."""

from typing import Literal

import msgspec

from chartscan.errors import ConfigError

MOST_TOKENS = 1 << 22  # of a context: what an int32 position and a machine's memory can hold
MOST_BINS = 127  # a bin is an int8
MOST_DAYS = 73_000  # 200 years: no record is longer


class SequenceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the EHRMamba token representation; the defaults follow the paper's text."""

    context: int = 2048  # tokens a model sees at once, the task token included
    n_bins: int = 5  # quantile bins of numeric results
    bin_sample: int = 100_000  # values kept per code and unit when fitting bins
    min_subjects: int = 10  # train subjects a token needs to enter the vocabulary
    max_text_length: int = 40  # longer text results are never tokens
    static_tokens: bool = True  # sex, race, ... follow [CLS], with zero attributes
    visit_tokens_attributed: bool = (
        False  # the paper's figure: [VS] [VE] [REG] carry their visit's attributes
    )
    implicit_gap_hours: float = 24.0  # a visit without encounter ends after so long without news
    stale_visit_days: float = (
        30.0  # an encounter that never ends is taken as ended after so long without news
    )
    task_token_placement: Literal["end", "both"] = "end"

    def __post_init__(self) -> None:
        if not 16 <= self.context <= MOST_TOKENS:
            raise ConfigError(f"reader.context is {self.context}; expected 16 to {MOST_TOKENS:,}.")
        if not 1 <= self.n_bins <= MOST_BINS or self.min_subjects < 1 or self.bin_sample < self.n_bins:
            raise ConfigError(
                f"reader.n_bins must be 1 to {MOST_BINS}, min_subjects positive, bin_sample at least n_bins."
            )
        if not 0 <= self.implicit_gap_hours <= 24 * MOST_DAYS or not 0 <= self.stale_visit_days <= MOST_DAYS:
            raise ConfigError(
                f"reader.implicit_gap_hours and stale_visit_days must be 0 to {MOST_DAYS:,} days."
            )
