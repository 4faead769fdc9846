"""What a model is trained for, one objective a file; each owns its head and gives a sum of losses."""
