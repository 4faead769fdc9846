"""A run on disk: what it is handed, where it works, where it may write, and the record that it leaves.

Nothing here knows what is trained: a working folder is kept until its artifact is published, a phase goes on
exactly where it was stopped, and the record says on which data and subjects, how long and how well.
"""
