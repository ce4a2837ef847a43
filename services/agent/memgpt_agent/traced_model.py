"""A span for each call of a chat model."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_runtime import tracing

from memgpt_agent import envelopes
from memgpt_agent.models.base import ChatModel, Completion, ModelRequest, Sink
from memgpt_agent.models.offline.model import NAME as OFFLINE


@dataclass(frozen=True, slots=True)
class TracedModel:
    """A chat model whose calls are recorded.

    Attributes:
        model: The model.
        default: Name of the model of requests that name none.
    """

    model: ChatModel
    default: str

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        """Answer a request, and record model and usage; the messages only if contents are enabled."""
        if not tracing.enabled():
            return await self.model.complete(request, sink)
        name = request.model or self.default
        attributes: tracing.Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "memgpt" if name == OFFLINE else "openai",
            "gen_ai.request.model": name,
            "gen_ai.request.max_tokens": request.max_tokens or None,
        }
        with tracing.span(f"chat {name}", attributes, "client") as span:
            span.set_contents(lambda: {"gen_ai.input.messages": _messages(request)})
            completion = await self.model.complete(request, sink)
            span.set(
                {
                    "gen_ai.usage.input_tokens": completion.usage.prompt_tokens,
                    "gen_ai.usage.output_tokens": completion.usage.completion_tokens,
                    "gen_ai.usage.cache_read.input_tokens": completion.usage.cached_tokens,
                }
            )
            span.set_contents(lambda: {"gen_ai.output.messages": _answer(completion)})
            return completion


def _messages(request: ModelRequest) -> str:
    return envelopes.dumps(
        [
            {"role": message.role.value, "parts": [{"type": "text", "content": message.text}]}
            for message in request.messages
        ]
    )


def _answer(completion: Completion) -> str:
    parts: list[dict[str, object]] = [{"type": "text", "content": completion.text}] if completion.text else []
    calls = (completion.call, *completion.further) if completion.call is not None else ()
    parts += [
        {"type": "tool_call", "id": call.call_id, "name": call.name, "arguments": call.arguments} for call in calls
    ]
    return envelopes.dumps([{"role": "assistant", "parts": parts}])
