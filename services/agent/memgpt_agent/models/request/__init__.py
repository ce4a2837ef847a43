"""Building requests: the wire format of the prompt, the functions and the options."""
