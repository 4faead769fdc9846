"""MultiBird for a demonstration or a test: `bigbird-tiny`, fine-tuned by prompts for all tasks at once."""

import msgspec

from chartscan.recipes.bigbird_tiny import RECIPE as BIGBIRD

RECIPE = msgspec.structs.replace(BIGBIRD, together=True)
