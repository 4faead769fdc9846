"""Fixtures of the tests of sources."""

from ingest_run import run

__all__ = ["run"]
