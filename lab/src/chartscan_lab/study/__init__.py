"""`chartscan study`: one command for every published table, with seeds' spread kept apart from sampling.

A study is a public file of this folder that assigns STUDY, found by its name; its fields are its settings.
Most name rows (recipe, settings, train subjects, prediction time); `_cells` trains and asks each row
with every seed and keeps what is finished, `_score` turns answers into numbers, `_report` into tables.
"""
