"""Answers as Gemini and Responses write them, and streams of Anthropic, Bedrock, and Cohere, which proxies pass on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BEDROCK_EVENTS = ("contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")


def as_chat(chunk: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk, or a whole answer, in the form of a chat completion; others as they are."""
    if isinstance(chunk.get("candidates"), list):
        choices = [_gemini(one) for one in chunk["candidates"] if isinstance(one, dict)]
        return {"choices": choices, "usage": chunk.get("usageMetadata")}
    if chunk.get("object") == "response" or _objects(chunk.get("output")):
        return _response(chunk)
    kind = chunk.get("type")
    if isinstance(kind, str) and kind.startswith("response."):
        return _response_event(kind, chunk)
    if isinstance(kind, str) and kind.startswith(("message_", "content_block_")):
        return _anthropic_event(chunk)
    if (event := _bedrock_event(chunk)) is not None:
        return event
    delta = _object(chunk.get("delta"))
    if isinstance(delta.get("message"), dict):  # Cohere
        return _delta(**delta["message"])
    if kind == "message-end":
        return {"choices": [{"finish_reason": delta.get("finish_reason")}], "usage": delta.get("usage")}
    return chunk


def _gemini(candidate: Mapping[str, Any]) -> dict[str, Any]:
    parts = _objects(_object(candidate.get("content")).get("parts"))
    delta = {
        "content": [part for part in parts if not part.get("thought")],
        "reasoning_content": [part for part in parts if part.get("thought")],
    }
    return {"delta": delta, "finish_reason": candidate.get("finishReason")}


def _response(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole response as a message."""
    content: list[object] = []
    calls: list[object] = []
    reasoning: list[object] = []
    for item in _objects(response.get("output")):
        match item.get("type"):
            case "message":
                given = item.get("content")
                content += given if isinstance(given, list) else [given]
            case "function_call" | "custom_tool_call":
                calls.append({**item, "id": item.get("call_id")})
            case "reasoning":
                reasoning += _texts(item.get("summary")) or _texts(item.get("content"))
    details = _object(response.get("incomplete_details"))
    finish = details.get("reason") or response.get("status") or "completed"
    message = {"content": content, "reasoning_content": reasoning, "tool_calls": calls}
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": response.get("usage")}


def _response_event(kind: str, event: Mapping[str, Any]) -> dict[str, Any]:
    delta, number = event.get("delta"), event.get("output_index")
    match kind:
        case "response.output_text.delta":
            return _delta(content=delta)
        case "response.refusal.delta":
            return _delta(refusal=delta)
        case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
            return _delta(reasoning_content=delta)
        case "response.output_item.added" | "response.output_item.done":
            item = _object(event.get("item"))
            if item.get("type") == "function_call":
                return _delta(tool_calls=[{**item, "id": item.get("call_id"), "index": number}])
        case "response.function_call_arguments.delta":
            return _delta(tool_calls=[{"index": number, "arguments": delta}])
        case "response.function_call_arguments.done":
            return _delta(tool_calls=[{"index": number, "arguments": event.get("arguments")}])
        case "response.completed" | "response.incomplete" | "response.done":
            whole = _response(_object(event.get("response")))
            whole["choices"][0]["message"]["reasoning_content"] = None  # it was streamed
            return whole
    return {}


def _anthropic_event(event: Mapping[str, Any]) -> dict[str, Any]:
    block, delta = _object(event.get("content_block")), _object(event.get("delta"))
    usage = event.get("usage") or _object(event.get("message")).get("usage")
    made: dict[str, object] = {}
    if block.get("type") == "tool_use":
        made["tool_calls"] = [{**block, "index": event.get("index")}]
    elif "partial_json" in delta:
        made["tool_calls"] = [{"index": event.get("index"), "arguments": delta["partial_json"]}]
    else:
        made["content"] = delta.get("text") or block.get("text")
        made["reasoning_content"] = delta.get("thinking") or block.get("thinking")
    return {"choices": [{"delta": made, "finish_reason": delta.get("stop_reason")}], "usage": usage}


def _bedrock_event(chunk: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an event of Bedrock's ConverseStream, with its name around it or without; None for other chunks."""
    name = next(iter(chunk)) if len(chunk) == 1 else ""
    event = chunk[name] if name in _BEDROCK_EVENTS and isinstance(chunk[name], dict) else chunk
    if event is chunk and "contentBlockIndex" not in chunk:
        return None
    number, delta = event.get("contentBlockIndex"), _object(event.get("delta"))
    made: dict[str, object] = {}
    if use := _object(_object(event.get("start")).get("toolUse")):
        made["tool_calls"] = [{"index": number, "id": use.get("toolUseId"), "name": use.get("name")}]
    elif use := _object(delta.get("toolUse")):
        made["tool_calls"] = [{"index": number, "arguments": use.get("input")}]
    else:
        made["content"] = delta.get("text")
        made["reasoning_content"] = _object(delta.get("reasoningContent")).get("text")
    return {"choices": [{"delta": made, "finish_reason": event.get("stopReason")}], "usage": event.get("usage")}


def _delta(**fields: object) -> dict[str, Any]:
    return {"choices": [{"delta": fields}]}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _texts(parts: object) -> list[object]:
    return [part["text"] for part in _objects(parts) if isinstance(part.get("text"), str)]
