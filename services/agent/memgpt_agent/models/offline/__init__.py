"""The built-in model, which needs no endpoint: a demonstration of search, without a language model."""
