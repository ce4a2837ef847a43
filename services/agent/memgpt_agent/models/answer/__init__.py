"""Reading answers: streams, calls and texts, and the mending of what is broken."""
