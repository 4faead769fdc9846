"""Why a series model answered as it did, and whether the explanation is to be believed.

Attributions are numbers an event, (B, L): of the fusion attention (the model itself says them), integrated
gradients, occlusion. `faithfulness` puts them to the test. A model is a function from batch to log odds.
"""
