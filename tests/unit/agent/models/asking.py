"""A model behind a scripted endpoint, and what a reader of its stream sees."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from memgpt_agent.context_window.tokens import TokenCalibration, TokenCounter
from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.functions import BUILT_IN, Function
from memgpt_agent.models.base import Completion, DeltaKind, ModelRequest
from memgpt_agent.models.endpoint import CallMode, ChatEndpointSettings
from memgpt_agent.models.openai_model import OpenAIModel

from tests.support.scripted_llm import ScriptedLLM
from tests.unit.agent.fakes import answered, user


class Sink:
    """Keeps what a reader sees: what was restarted is void."""

    def __init__(self) -> None:
        self.restarts: list[str] = []
        self.text = {DeltaKind.THOUGHT: "", DeltaKind.MESSAGE: ""}

    def delta(self, kind: DeltaKind, text: str) -> None:
        self.text[kind] += text

    def restart(self, reason: str) -> None:
        self.restarts.append(reason)
        self.text = {DeltaKind.THOUGHT: "", DeltaKind.MESSAGE: ""}


@asynccontextmanager
async def model_at(
    llm: ScriptedLLM,
    mode: CallMode = CallMode.TOOLS,
    *,
    base_url: str = "",
    calibration: TokenCalibration | None = None,
    **more: object,
) -> AsyncIterator[OpenAIModel]:
    """The model behind a scripted endpoint, which is asked again twice at once."""
    options = {"api_key": "sk-secret-of-the-test", "retries": 2, "pause": 0.001, "timeout": 20.0, **more}
    settings = ChatEndpointSettings("scripted", base_url or llm.base_url, mode=mode, **options)  # type: ignore[arg-type]
    model = OpenAIModel(settings, calibration or TokenCalibration(), TokenCounter())
    try:
        yield model
    finally:
        await model.close()


def question(*messages: Message, max_tokens: int = 500, functions: tuple[Function, ...] = BUILT_IN) -> ModelRequest:
    """A question to the model, by default after a greeting."""
    history = messages or (*answered().messages, user("Hello?"))
    return ModelRequest([Message(Role.SYSTEM, "Be yourself."), *history], functions, max_tokens=max_tokens)


def calls(completion: Completion) -> list[tuple[str, dict[str, object]]]:
    """The calls of an answer, decoded."""
    made = [completion.call, *completion.further] if completion.call else []
    return [(call.name, json.loads(call.arguments)) for call in made if isinstance(call, FunctionCall)]
