"""Clinical tasks, one per file: TITLE, DESCRIPTION, Config, label(record) -> one Outcome per index stay.

`title(config)` is the title with the settings in use. A new file here is a new task; the contract tests and
the command line find it by its name. Tasks that differ in a constant alone share a file, which names them in
TASKS. Every index stay is judged, never only the last, and nothing after the prediction time decides whether
it is eligible.
"""
