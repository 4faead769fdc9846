"""Architectures, one a file: `Config`, and `Model(config, vocab_size)` where it reads tokens.

Models of time series are `Model(config, n_variables, n_statics)`; their `INPUT` says what they read, their
`HEAD` which objective answers from their representation.
"""
