"""``archival_memory_insert``: stores a note in archival memory."""

from __future__ import annotations

from memgpt_agent.domain import Context, Effects
from memgpt_agent.functions.function import Call, Function, FunctionOutput, MemorySearch, Parameter


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    return FunctionOutput("The note is stored in archival memory.", Effects(notes=(call.text("content"),)))


ARCHIVAL_MEMORY_INSERT = Function(
    "archival_memory_insert",
    "Stores a note in archival memory, which is unlimited and searched by meaning. Write it so that it makes sense on"
    " its own.",
    (Parameter("content", "string", "The note."),),
    _run,
    "Save what is too long for core memory with archival_memory_insert.",
    writes=True,
)
