"""Turns: one at a time per agent, in order of arrival, under a lease; and edits, which are turns of their own."""

from __future__ import annotations

from memgpt_memory.turns._edits import Edit, Edits, Part, TurnStart
from memgpt_memory.turns._local_time import write_time, write_times
from memgpt_memory.turns._model import StepCommit
from memgpt_memory.turns._turns import Grant, Lease, Step, Turns

__all__ = [
    "Edit",
    "Edits",
    "Grant",
    "Lease",
    "Part",
    "Step",
    "StepCommit",
    "TurnStart",
    "Turns",
    "write_time",
    "write_times",
]
