"""Writing and reading a dataset: spool, sort, shard, manifest, quarantine, accounting, atomic publish.

Knows the EVENTS table and the files of a MEDS dataset; knows no source format and no clinical meaning.
"""
