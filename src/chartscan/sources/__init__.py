"""Raw records -> EVENTS: one module or package a format, with `Config` and `read(path, writer, config)`."""
