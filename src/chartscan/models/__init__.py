"""Architectures, one a file: `Config`, and `Model(config, vocab_size)` where it reads tokens.

Models of time series are `Model(config, n_variables, n_statics)`. `INPUT` says what a model reads, `HEAD`
which objective answers from its representation, `PRETRAINING` which one it is pretrained with.
Here stand the checks that their settings share.
"""

from chartscan.errors import ConfigError


def check_dropout(dropout: float) -> None:
    """ConfigError unless `dropout` is a share below 1."""
    if not 0 <= dropout < 1:
        raise ConfigError(f"model.dropout is {dropout}; expected 0 <= dropout < 1.")


def check_heads(n_heads: int, d_model: int) -> None:
    """ConfigError unless `n_heads` heads divide the width."""
    if d_model % n_heads:
        raise ConfigError(f"model.n_heads is {n_heads}; expected a divisor of model.d_model, {d_model}.")


def check_task_type(task_type: int, n_types: int) -> None:
    """ConfigError unless the type of task tokens is one of `n_types`."""
    if not 0 <= task_type < n_types:
        raise ConfigError(f"model.task_type is {task_type}; expected 0 to {n_types - 1}.")
