"""Stays of the subjects asked about, and how many of their measurements the variables know."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from chartscan.errors import DataError
from chartscan.inputs.batches.series import SeriesStore
from chartscan.inputs.counts.summary import Summary, summary_matrix
from chartscan.inputs.hourly import Stay, Variables, stays
from chartscan.inputs.hourly.variables import frame_of, measurements
from chartscan.inputs.tokens import Coverage, check_coverage
from chartscan.prediction.tokens import summed


@dataclass(frozen=True)
class Stays:
    """One stay a question, as networks and as tabular models see them."""

    variables: Variables
    stays: list[Stay]
    coverage: dict[str, Coverage] = field(default_factory=dict)  # measurements by code system
    warning: str | None = None  # about unknown variables

    @cached_property
    def store(self) -> SeriesStore:
        """The stays as batches are made from them; without labels."""
        return SeriesStore.build(self.stays, np.zeros((len(self.stays), 0)), self.variables)

    @cached_property
    def summary(self) -> Summary:
        """The stays as summary features."""
        return summary_features(self.stays, self.variables)


class StayReader:
    """Cuts a stay for each question out of EVENTS, table by table."""

    def __init__(self, variables: Variables, questions: pa.Table):
        self._variables = variables
        self._questions = questions  # subject_id, prediction_time
        self._found: list[Stay | None] = [None] * questions.num_rows
        self._coverage: list[dict[str, Coverage]] = []

    def read(self, table: pa.Table) -> None:
        """Takes in whole subjects."""
        self._coverage.append(series_coverage(table, self._variables))
        here = pc.is_in(self._questions["subject_id"], pc.unique(table["subject_id"]))
        rows = pc.indices_nonzero(here)
        found = stays([table], self._variables, self._questions.take(rows))
        for row, stay in zip(rows.to_pylist(), found, strict=True):
            self._found[row] = stay

    def stays(self) -> Stays:
        """The stay of each question.

        DataError where one has no events, or more than a fifth of the measurements are of unknown variables.
        """
        coverage = summed(self._coverage)
        warning = check_coverage(coverage, "measurements", "among the model's variables")
        found = [stay for stay in self._found if stay is not None]
        if len(found) < len(self._found):
            raise DataError(
                f"Labels: {len(self._found) - len(found)} of {len(self._found)} belong to subjects without "
                "events here. Label this dataset again."
            )
        return Stays(self._variables, found, coverage, warning)


def summary_features(stays: Sequence[Stay], variables: Variables) -> Summary:
    """Summaries of each stay's variables and its static facts, NaN where missing."""
    return summary_matrix(stays, variables.names, variables.fact_names)


def series_coverage(table: pa.Table, variables: Variables) -> dict[str, Coverage]:
    """Measurements in `table`, and how many are of no variable (code and unit), by code system."""
    system = pl.col("code").str.splitn("//", 2).struct.field("field_0")
    unknown = ~pl.col("name").is_in(list(variables.names))
    counts = (
        measurements(frame_of(table))
        .group_by(system.alias("system"))
        .agg(pl.len().cast(pl.Int64).alias("events"), unknown.cast(pl.Int64).sum().alias("unknown"))
        .sort("system")
    )
    return {system: Coverage(events, unknown) for system, events, unknown in counts.iter_rows()}
