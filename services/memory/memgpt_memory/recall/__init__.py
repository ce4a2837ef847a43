"""Recall memory: search of an agent's messages by words, by similarity and by day."""

from __future__ import annotations

from memgpt_memory.recall._expiry import Expiry
from memgpt_memory.recall._forgetting import Forgetting, Forgotten
from memgpt_memory.recall._message_index import MessageIndex
from memgpt_memory.recall._recall import Neighbors, Recall, RecallMode, RecallQuery, check_days

__all__ = [
    "Expiry",
    "Forgetting",
    "Forgotten",
    "MessageIndex",
    "Neighbors",
    "Recall",
    "RecallMode",
    "RecallQuery",
    "check_days",
]
