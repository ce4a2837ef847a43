"""The chat: chooses or creates an agent, then runs turns."""
