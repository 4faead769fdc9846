"""Parts of sequence models; they know no vocabulary, task or data set."""
