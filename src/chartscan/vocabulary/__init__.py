"""The words that labels depend on, and what each means: classes, dispositions, sex.

Every table maps the words that hospitals write to one meaning. A word that is in no table is unknown: it is
counted, named and never read as a negative. Knows no resource, no file and no task.
"""
