"""The version of chartscan, apart from the Python API so that its parts can name it."""

VERSION = "0.1.0"
