"""Reads what Letta keeps agents in: its Agent Files and its database."""
