"""How models are fitted to labels: networks, trees and ensembles, each by the settings of a recipe.

- `fitting`: what every kind is fitted with
- `baselines`: trees and logistic regression
- `neural`: networks
- `ensembles`: several of them

Knows no command.
"""
