"""The content of the model's context window: the composed prompt, token counts, eviction limits."""
