"""Write the requests with which `memgpt configure` probes a chat endpoint, the same as the Agent sends.

scripts/probe_request.py generate   writes clients/cli/memgpt/cli/probe_request.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from memgpt.endpoints.address import parse_address
from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.functions import BUILT_IN
from memgpt_agent.models.base import ModelRequest
from memgpt_agent.models.endpoint import CallMode
from memgpt_agent.models.request.dialect import Dialect

TARGET = Path(__file__).parents[1] / "clients/cli/memgpt/cli/probe_request.json"
_TOKENS = 2048
"""Maximum tokens of a response; reasoning models need many."""


def requests() -> dict[str, object]:
    """Return requests with a short real history and all functions, in both modes."""
    greeting = FunctionCall("call_of_the_probe", "send_message", '{"message": "Hello, I am here."}')
    history = [
        Message(Role.SYSTEM, "You are an agent with a memory. You reach the user only by calling send_message."),
        Message(Role.ASSISTANT, "I greet the user.", function_call=greeting),
        Message(Role.TOOL, '{"status": "OK", "message": "The message was sent."}', call_id=greeting.call_id),
        Message(Role.USER, '{"type": "user_message", "message": "Say hello to Ada."}'),
    ]
    dialect = Dialect(parse_address("http://localhost/v1"), None)
    request = ModelRequest(history, BUILT_IN)
    return {mode.value: dialect.body(request, "", mode, _TOKENS) for mode in (CallMode.TOOLS, CallMode.JSON_SCHEMA)}


def text() -> str:
    """Return the content of the file."""
    return json.dumps(requests(), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] != ["generate"]:
        sys.exit(__doc__)
    TARGET.write_text(text(), encoding="utf-8")
