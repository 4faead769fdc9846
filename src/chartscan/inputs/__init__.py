"""What models see of a record: `tokens`, `hourly` states or `counts`, and `batches` of them."""
