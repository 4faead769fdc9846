"""Sequence models, one architecture a file: `Config` and `Model(config, vocab_size)`."""
