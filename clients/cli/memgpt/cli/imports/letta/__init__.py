"""Letta: its Agent Files and its database."""
