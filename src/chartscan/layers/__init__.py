"""Parts that sequence models are built from; none knows a vocabulary, a task or a data set."""
