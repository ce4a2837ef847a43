"""The prompt in the mode ``tools``: a history that every endpoint accepts.

A user's message comes first, adjacent messages of the user are joined, contents are never null, and ids of calls are
nine letters and digits, as the strictest endpoint demands. `Quirks` switches on what only some endpoints demand.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from cachetools import LRUCache

from memgpt_agent import envelopes
from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.functions.function import INNER_THOUGHTS
from memgpt_agent.models.answer.function_names import MAX_NAME
from memgpt_agent.models.answer.surrogates import whole
from memgpt_agent.models.request.wire import FILLER, OPENING, Quirks, Wire

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_ID_LENGTH = 9
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_REMEMBERED = 256
_MAX_REASONING = 20_000
_MAX_STORED_BYTES = 16_384
"""Most bytes of a call's data that Memory stores."""

_NO_SIGNATURE = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""What Gemini accepts in place of a lost signature, according to its documentation."""


class CallExtras:
    """Data that came with calls and that some endpoints expect back: reasoning and signatures.

    Signatures, and the reasoning where it is demanded, are stored with the call as well, for the process that continues
    the conversation after this one. It sends placeholders for calls without.
    """

    def __init__(self) -> None:
        self._reasoning: LRUCache[str, str] = LRUCache(_REMEMBERED)
        self._extras: LRUCache[str, object] = LRUCache(_REMEMBERED)
        self._blocks: LRUCache[str, object] = LRUCache(_REMEMBERED)

    def keep(
        self, call: FunctionCall, reasoning: str, extra: object, blocks: object = None, *, reasoning_demanded: bool
    ) -> FunctionCall:
        """Keep the data that came with a call; return the call with what is to be stored.

        Args:
            call: The call.
            reasoning: The reasoning of its answer.
            extra: Further fields of the call.
            blocks: Fields of its answer with blocks of reasoning.
            reasoning_demanded: Whether the endpoint expects the reasoning back.
        """
        data: dict[str, object] = {}
        if reasoning:
            self._reasoning[call.call_id] = reasoning[:_MAX_REASONING]
            if reasoning_demanded:
                data["reasoning"] = reasoning[:_MAX_REASONING]
        if extra:
            self._extras[call.call_id] = extra
            data["fields"] = extra
        if blocks:
            self._blocks[call.call_id] = blocks
            data["blocks"] = blocks
        return replace(call, endpoint_data=_stored(data))

    def reasoning(self, call: FunctionCall) -> str:
        """Return the reasoning of a call; a placeholder if it is not known."""
        known = self._reasoning.get(call.call_id) or envelopes.parse(call.endpoint_data).get("reasoning")
        return known if isinstance(known, str) and known else FILLER

    def fields(self, call: FunctionCall) -> dict[str, object]:
        """Return the further fields of a call; placeholders if they are not known."""
        known = self._extras.get(call.call_id) or envelopes.parse(call.endpoint_data).get("fields")
        return dict(known) if isinstance(known, Mapping) and known else {"extra_content": _NO_SIGNATURE}

    def blocks(self, call: FunctionCall) -> dict[str, object]:
        """Return the fields of the call's answer with blocks of reasoning; none if they are not known."""
        known = self._blocks.get(call.call_id) or envelopes.parse(call.endpoint_data).get("blocks")
        return dict(known) if isinstance(known, Mapping) else {}


def _stored(data: dict[str, object]) -> str:
    """Return the data of a call as JSON; parts are dropped until it is short enough to be stored."""
    for part in ("", "reasoning", "blocks", "fields"):
        data.pop(part, None)
        text = whole(json.dumps(data, ensure_ascii=False)) if data else ""
        if len(text.encode()) <= _MAX_STORED_BYTES:
            return text
    return ""


def tool_messages(
    messages: Sequence[Message], quirks: Quirks | None = None, extras: CallExtras | None = None
) -> list[Wire]:
    """Return the prompt with tool calls; a thought is put back into its call."""
    quirks, extras = quirks or Quirks(), extras or CallExtras()
    called = {
        message.function_call.call_id: message.function_call.name
        for message in messages
        if message.function_call is not None
    }
    rendered: list[Wire] = []
    for message in _with_joined_thoughts(messages):
        if message.role is Role.TOOL and message.call_id not in called:
            _add(rendered, {"role": "user", "content": message.text}, quirks)  # its call has left the window
        else:
            made = _message(message, quirks, extras)
            if quirks.named_results and message.role is Role.TOOL:
                made["name"] = wire_name(called[message.call_id])
            _add(rendered, made, quirks)
    return without_system(rendered) if quirks.no_system else rendered


def _with_joined_thoughts(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield the messages with each thought joined to an answer that follows at once.

    Some endpoints refuse an answer that has both a text and a call, so a call's thoughts go into its arguments.
    """
    before: Message | None = None
    for message in messages:
        joined = message
        if before is not None and message.role is Role.ASSISTANT:
            joined = replace(message, text="\n".join(filter(None, (before.text, message.text))))
        elif before is not None:
            yield before
        before = joined if joined.role is Role.ASSISTANT and joined.function_call is None else None
        if before is None:
            yield joined
    if before is not None:
        yield before


@lru_cache(maxsize=4096)
def wire_id(call_id: str) -> str:
    """Return the id of a call as it is sent to endpoints."""
    number = int.from_bytes(hashlib.blake2b(call_id.encode(), digest_size=8).digest())
    letters = ""
    for _ in range(_ID_LENGTH):
        number, rest = divmod(number, len(_LETTERS))
        letters += _LETTERS[rest]
    return letters


def wire_name(name: str) -> str:
    """Return a function's name as endpoints accept it: models also call functions by names that no function can have.

    The result next to such a call quotes the name as it was written.
    """
    return _NOT_IN_NAMES.sub("_", name)[:MAX_NAME] or "_"


def _add(rendered: list[Wire], new: Wire, quirks: Quirks) -> None:
    """Add a message so that the order of roles is kept."""
    last = rendered[-1] if rendered else {"role": "system"}
    role = new["role"]
    if role == "assistant" and last["role"] == "system":
        rendered.append({"role": "user", "content": OPENING})
    elif role == "user" and last["role"] == "tool" and quirks.answer_after_result:
        rendered.append({"role": "assistant", "content": FILLER})
    elif role == last["role"] == "user":
        rendered[-1] = {**new, "content": f"{last['content']}\n{new['content']}"}
        return
    rendered.append(new)


def without_system(rendered: list[Wire]) -> list[Wire]:
    """Return the prompt with the system message's text moved before the user's first message."""
    if len(rendered) < 2 or rendered[0]["role"] != "system":
        return rendered
    system, first, *rest = rendered
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def _message(message: Message, quirks: Quirks, extras: CallExtras) -> Wire:
    call = message.function_call
    if message.role is Role.TOOL:
        return {"role": "tool", "tool_call_id": wire_id(message.call_id), "content": message.text or FILLER}
    if call is None:
        return {"role": message.role.value, "content": message.text or FILLER}
    function = {"name": wire_name(call.name), "arguments": _with_thought(call, message.text)}
    made: Wire = {"id": wire_id(call.call_id), "type": "function", "function": function}
    if quirks.signatures:
        made |= extras.fields(call)
    rendered: Wire = {"role": "assistant", "content": FILLER if quirks.no_empty_content else "", "tool_calls": [made]}
    if quirks.reasoning:
        rendered["reasoning_content"] = extras.reasoning(call)
    if quirks.thinking or quirks.signatures:
        rendered |= extras.blocks(call)
    return rendered


def _with_thought(call: FunctionCall, thought: str) -> str:
    # Endpoints refuse a history with arguments that do not parse; the result next to them shows what was written.
    arguments: Mapping[str, object] = envelopes.parse(call.arguments)
    try:
        # JSON can escape half a character, which no request can hold.
        return whole(json.dumps({INNER_THOUGHTS: thought, **arguments}, ensure_ascii=False, allow_nan=False))
    except ValueError:  # infinite numbers, which Python reads and JSON does not have
        return envelopes.dumps({INNER_THOUGHTS: thought})
