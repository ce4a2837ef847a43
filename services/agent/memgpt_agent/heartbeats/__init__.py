"""Timed heartbeats: what is stored of them, and the scheduler that wakes agents on any replica."""
