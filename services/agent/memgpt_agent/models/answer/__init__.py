"""Reading answers: streams, calls and texts, and the repair of malformed ones."""
