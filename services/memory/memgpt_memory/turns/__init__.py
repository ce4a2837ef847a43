"""Turns: one at a time per agent, in order of arrival, under a lease; and edits, which are turns of their own."""

from __future__ import annotations

from memgpt_memory.turns._edits import Edit, Edits, Part
from memgpt_memory.turns._history import Step
from memgpt_memory.turns._local_time import write_time, write_times
from memgpt_memory.turns._turn_queue import Grant, TurnRequest
from memgpt_memory.turns._turns import Turns

__all__ = ["Edit", "Edits", "Grant", "Part", "Step", "TurnRequest", "Turns", "write_time", "write_times"]
