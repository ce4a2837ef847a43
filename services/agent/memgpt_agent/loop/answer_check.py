"""Checks of a model's answer before it is acted on. After an objection, the model is told and asked again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from memgpt_agent.domain import Context, FunctionCall, Role
from memgpt_agent.functions import BUILT_IN_BY_NAME, Function, functions_of
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.models.base import Completion

MAX_FIRST_ATTEMPTS = 10
"""Maximum number of requests to a new agent's model for a first answer that passes the check."""


_NOT_A_PLAN = re.compile(r"\b(?:no need|not|without|instead of|already|before|after|later)\b|n['’]t\b|不|已", re.I)
"""Words near a function's name which may mean that it should not be called now."""


@dataclass(frozen=True, slots=True)
class Objection:
    """The reason why an answer is not accepted.

    Attributes:
        to_model: The message to the model.
        to_people: The message to the readers of the turn's stream.
    """

    to_model: str
    to_people: str


def first_answer_objection(completion: Completion) -> Objection | None:
    """Return what is wrong with the first answer of a new agent: it must speak, search, or write to memory."""
    call = completion.call
    if call is not None and (call.name == SEND_MESSAGE.name or _searches_or_writes(call)):
        return None
    did = f"You called {call.name}" if call is not None else "You wrote text without calling a function"
    return Objection(
        f"{did}, but the user has not heard from you yet. Call send_message to greet or answer them, or search first.",
        "The agent is asked again: it has not spoken yet.",
    )


def mismatch_objection(context: Context, completion: Completion) -> Objection | None:
    """Return an objection if the thought plans one function and the call is to another.

    A function that was called since the last event does not count as planned: the thought may refer to that call.
    """
    call = completion.call
    if call is None:
        return None
    named = _named(completion.text, functions_of(context)) - _called_lately(context)
    made = {call.name, *(further.name for further in completion.further)}
    if len(named) != 1 or made & named or _NOT_A_PLAN.search(completion.text):
        return None
    planned = named.pop()
    return Objection(
        f"In your thought you planned to call {planned}, but you called {call.name}. Call {planned} if you meant it;"
        f" otherwise call {call.name} again and leave {planned} out of your thought.",
        "The agent is asked again: it planned one action and took another.",
    )


def _searches_or_writes(call: FunctionCall) -> bool:
    function = BUILT_IN_BY_NAME.get(call.name)
    return function is not None and (function.searches or function.writes)


def _named(thought: str, functions: tuple[Function, ...]) -> set[str]:
    names = {function.name for function in functions}
    return names & set(re.findall(r"[A-Za-z0-9_-]+", thought))


def _called_lately(context: Context) -> set[str]:
    """Return the functions called since the last message that the agent did not cause itself."""
    called: set[str] = set()
    for message in reversed(context.messages):
        if message.function_call is not None:
            called.add(message.function_call.name)
        elif message.role is Role.USER and '"user_message"' in message.text:
            break
    return called
