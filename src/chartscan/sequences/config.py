"""How histories become tokens: every setting of the representation, saved with the vocabulary."""

from typing import Literal

import msgspec

from chartscan.errors import ConfigError


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
        if self.context < 16:
            raise ConfigError(f"sequence.context is {self.context}; expected at least 16.")
        if self.n_bins < 1 or self.min_subjects < 1 or self.bin_sample < self.n_bins:
            raise ConfigError(
                "sequence.n_bins and min_subjects must be positive, bin_sample at least n_bins."
            )
        if self.implicit_gap_hours < 0 or self.stale_visit_days < 0:
            raise ConfigError("sequence.implicit_gap_hours and stale_visit_days must not be negative.")
