"""Readers: fitted on train records, they turn records into batches or a matrix.

`TokenReader` reads events as tokens, `HourlyReader` stays as time series. Every kind of model, a network or
trees, works on what any reader gives: that is the first of the two axes (docs/architecture.md). A reader
knows nothing of how models learn.
"""

from chartscan.inputs.hourly import SeriesConfig
from chartscan.inputs.readers.hourly import HourlyBatches, HourlyReader, HourlyRecords
from chartscan.inputs.readers.questions import Questions
from chartscan.inputs.readers.tokens import TokenBatches, TokenReader, TokenRecords
from chartscan.inputs.tokens import SequenceConfig

__all__ = [
    "READERS",
    "Asked",
    "HourlyReader",
    "HourlyRecords",
    "Questions",
    "Reader",
    "ReaderConfig",
    "Records",
    "TokenReader",
    "TokenRecords",
    "reader_type",
]

Reader = TokenReader | HourlyReader
Records = TokenRecords | HourlyRecords  # what a reader has read of some subjects
# S samples as batches of a network. The answers to one pass in order make an array of `shape`; `of_samples`
# finds those of the samples in it.
Asked = TokenBatches | HourlyBatches
ReaderConfig = SequenceConfig | SeriesConfig
READERS: dict[str, type[TokenReader] | type[HourlyReader]] = {
    one.NAME: one for one in (TokenReader, HourlyReader)
}
_SETTINGS: dict[type, str] = {SequenceConfig: TokenReader.NAME, SeriesConfig: HourlyReader.NAME}


def reader_type(config: ReaderConfig) -> type[TokenReader] | type[HourlyReader]:
    """The reader that the settings are of."""
    return READERS[_SETTINGS[type(config)]]
