"""The MemGPT loop: turns, steps, leases, and the events that a turn sends to its readers."""
