"""Everything the program can do, put together of the other parts: a file for each recipe and each command.

A file that assigns RECIPE is a recipe, found by its name (`_names`). The other files are the commands:
`ingest`, `train`, `predict`, `report`, `explain`, `forecast`, `forecast_report`, `zero_shot` and `demo`, with
the folders `study` and `bench`. What recipes and commands share stands in folders of one purpose each:

- `runs`: a run on disk
- `questions`: LABELS made, read, and put to a model
- `fitting`: what every kind of model is fitted with
- `baselines`, `neural`, `ensembles`: the three ways to train
- `futures`: forecasts
- `explaining`: answers explained
- `reporting`: predictions gathered for a report

They import neither recipes nor commands, and one another without a cycle.
"""
