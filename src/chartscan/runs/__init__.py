"""A run on disk: its job, working folder, outputs and run record.

Nothing here knows what is trained: a working folder is kept until its artifact is published, a phase goes on
exactly where it was stopped, and the record says on which data and subjects, how long and how well.
"""
