"""Why a model answered as it did, and whether the explanation is to be believed.

Attributions are numbers an event, (B, L): of attention (fusion, self-attention, the hidden attention of
Mamba), integrated gradients, occlusion. `faithfulness` puts them to the test. A model is a function from a
batch, of tokens or of triplets, to log odds.
"""
