"""Timed heartbeats: their storage, and the scheduler that wakes agents; `heartbeat_plan` says when they are due."""
