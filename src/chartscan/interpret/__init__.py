"""Explains a model's answers, and tests whether the explanations can be trusted.

Attributions are numbers an event, (B, L): of attention (fusion, self-attention, the hidden attention of
Mamba), integrated gradients, occlusion. `faithfulness` tests them. A model is a function from a
batch, of tokens or of triplets, to log odds.
"""
