"""``core_memory_replace``: changes or deletes text in a block of core memory."""

from __future__ import annotations

from memgpt_agent.domain import Context
from memgpt_agent.functions.core_memory import BLOCK, edit, editable_block
from memgpt_agent.functions.function import Call, Function, FunctionError, FunctionOutput, MemorySearch, Parameter


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    block, old = editable_block(context, call.text("name")), call.text("old_content")
    if old not in block.value:
        raise FunctionError(
            f'Nothing was changed: the block "{block.label}" does not contain "{old[:200]}". Copy the text exactly as'
            " it appears in the block."
        )
    return edit(block, block.value.replace(old, call.text("new_content")))


CORE_MEMORY_REPLACE = Function(
    "core_memory_replace",
    "Replaces text in a block of your core memory. To delete text, replace it with an empty string.",
    (
        BLOCK,
        Parameter("old_content", "string", "The text to replace, exactly as it appears in the block."),
        Parameter("new_content", "string", "The new text.", may_be_empty=True),
    ),
    _run,
    "When a fact in core memory has changed or is wrong, correct it with core_memory_replace.",
    writes=True,
)
