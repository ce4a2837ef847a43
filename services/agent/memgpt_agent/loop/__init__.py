"""The MemGPT loop: turns, steps, leases, and the events that a turn gives its readers."""
