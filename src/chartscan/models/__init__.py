"""Architectures, one a file: `Config`, and `Model(config, vocab_size)` where it reads tokens.

Models of time series are `Model(config, n_variables, n_statics)`. `INPUT` says what a model reads, `HEAD`
which objective answers from its representation, `PRETRAINING` which one it is pretrained with.
"""
