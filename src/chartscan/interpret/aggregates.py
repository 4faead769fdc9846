"""Attributions by type of event: per token, and in sum, where a type of many is large by being many."""

import polars as pl


def by_type(attributions: pl.DataFrame) -> pl.DataFrame:
    """Of each method and type the tokens, their mean, mean size, and the sum an answer (EHRMamba's way).

    `attributions` has a row for each event of an answer: `answer`, `method`, `type`, `attribution`.
    """
    value = pl.col("attribution")
    answers = pl.col("answer").n_unique().over("method").alias("answers")
    return (
        attributions.with_columns(answers)
        .group_by("method", "type")
        .agg(
            tokens=pl.len(),
            mean=value.mean(),
            mean_size=value.abs().mean(),
            sum_per_answer=value.sum() / pl.col("answers").first(),
        )
        .sort("method", "mean_size", descending=[False, True])
    )
