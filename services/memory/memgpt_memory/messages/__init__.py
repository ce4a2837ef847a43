"""Messages as rows, read by their sequence, and what was said in them."""

from __future__ import annotations

from memgpt_memory.messages._messages import Messages, message_id, message_rows, stored
from memgpt_memory.messages._model import FunctionCall, Message, NewMessage, Role, Usage, text_size
from memgpt_memory.messages._transcripts import CHUNK, Line, Transcripts, spoken_text

__all__ = [
    "CHUNK",
    "FunctionCall",
    "Line",
    "Message",
    "Messages",
    "NewMessage",
    "Role",
    "Transcripts",
    "Usage",
    "message_id",
    "message_rows",
    "spoken_text",
    "stored",
    "text_size",
]
