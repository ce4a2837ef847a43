"""Making requests: how the prompt, the functions and the options look on the wire."""
