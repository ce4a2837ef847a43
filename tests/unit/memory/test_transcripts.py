"""What was said in a message, as searches by words find it."""

from __future__ import annotations

import pytest
from memgpt_memory.messages import FunctionCall, Message, Role, spoken_text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('{"message": "Tea is\\ngreen."}', "thought\nTea is\ngreen."),
        ('{"message": "Tea is\ngreen."}', "thought\nTea is\ngreen."),
        ('{"message": "Tea', "thought"),
        ("[]", "thought"),
    ],
)
def test_what_the_agent_said_is_read_as_the_call_was_run(arguments: str, said: str) -> None:
    call = FunctionCall("c", "send_message", arguments)
    assert spoken_text(Message("m", "a", 0, Role.ASSISTANT, "thought", 1, function_call=call)) == said
