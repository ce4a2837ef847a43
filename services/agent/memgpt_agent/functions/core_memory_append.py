"""``core_memory_append``: adds a line to a block of core memory."""

from __future__ import annotations

from memgpt_agent.domain import Context
from memgpt_agent.functions.core_memory import BLOCK, edit, editable_block
from memgpt_agent.functions.function import Call, Function, FunctionOutput, MemorySearch, Parameter


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    block, line = editable_block(context, call.text("name")), call.text("content")
    if line.strip() in (known.strip() for known in block.value.splitlines()):
        # Small models save a fact again in later turns; an edit would also make the endpoint read the prompt again.
        return FunctionOutput(f'The block "{block.label}" already has this line; nothing was changed.')
    return edit(block, f"{block.value}\n{line}" if block.value else line)


CORE_MEMORY_APPEND = Function(
    "core_memory_append",
    "Adds a line to a block of your core memory, which is always in your context.",
    (BLOCK, Parameter("content", "string", "The line to add, as a full sentence.")),
    _run,
    "When the user tells you a fact about themselves, save it with core_memory_append in the block human and set"
    " request_heartbeat to true; then answer them.",
    writes=True,
)
