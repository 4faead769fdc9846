"""What tabular models see of a record at a prediction time."""
