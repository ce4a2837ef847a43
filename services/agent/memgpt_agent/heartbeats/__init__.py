"""Timed heartbeats: their storage, and the scheduler that wakes agents on any replica."""
