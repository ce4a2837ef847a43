"""A scripted model with a vendor's rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.scripted_llm import Raw, Reply, Request, ScriptedLLM, Status, Stream, chunk
from tests.support.vendors import Vendor
from tests.support.vendors.rules import first_of

MESSAGE = "Hello Ada."
SUMMARY = "I know Ada."
_CACHED = 80
_FAILED = Status(400, "Failed to call a function. Please adjust your prompt.", "tool_use_failed")


@dataclass
class VendorModel:
    """Answers chat requests like the vendor's model if they follow its rules."""

    vendor: Vendor
    asked: int = 0
    refused: list[str] = field(default_factory=list)
    script: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Calls to make first, one per response."""

    def __call__(self, request: Request) -> Reply:
        """Return a response or a rejection."""
        refusal = first_of(self.vendor.chat or (), request)
        if refusal is not None:
            self.refused.append(str(getattr(refusal, "message", "")))
            return refusal
        self.asked += 1
        if self.vendor.fails and self.asked % self.vendor.fails == 0:
            self.refused.append(_FAILED.message)
            return _FAILED
        if self.vendor.starved(request):
            thinking: dict[str, Any] = {"reasoning_content": "Let me think."}
            return Stream((chunk("length", **thinking), self._end()))
        return self._answer(request)

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the model's calls in the form of tool calls."""
        if self.script:
            return [self.script.pop(0)]
        note = ("core_memory_append", {"name": "human", "content": "Ada", "request_heartbeat": False})
        speak = ("send_message", {"message": MESSAGE})
        return [note, speak] if self.vendor.shape == "parallel" else [speak]

    def _answer(self, request: Request) -> Reply:
        if request.json.get("tools"):
            events = self._by_tools()
        elif "### Functions" in request.messages[0]["content"]:
            name, values = self.calls()[-1]
            chosen = {"inner_thoughts": "", "call": {"function": name, "arguments": values}}
            events = self._text(json.dumps(chosen))
        else:
            events = self._text(SUMMARY)
        if request.json.get("stream"):
            return Stream((*events, self._end()))
        return Raw(_whole(events, self._usage()))

    def _text(self, text: str) -> list[str]:
        if self.vendor.shape == "list":
            thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "I think."}]}
            return [chunk(content=[thinking]), chunk("stop", content=[{"type": "text", "text": text}])]
        return [chunk(content=text[:7]), chunk("stop", content=text[7:])]

    def _by_tools(self) -> list[str]:
        if self.vendor.shape == "text":
            return self._text("\n".join(_as_text(name, values) for name, values in self.calls()))
        entries: list[dict[str, Any]] = []
        for number, (name, values) in enumerate(self.calls()):
            head: dict[str, Any] = {"index": number, "id": f"call_{number}", "type": "function"}
            if self.vendor.shape == "from one":
                head["index"] += 1
            if self.vendor.shape == "unnumbered":
                head = {"type": "function"}
                entries.append({**head, "function": {"name": name, "arguments": json.dumps(values)}})
                continue
            text = json.dumps(values)
            entries.append({**head, "function": {"name": name, "arguments": text[:9]}})
            entries.append({"index": head["index"], "function": {"arguments": text[9:]}})
        return [*(chunk(tool_calls=[entry]) for entry in entries), chunk("tool_calls")]

    def _usage(self) -> dict[str, Any]:
        usage: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 10}
        match self.vendor.cached:
            case "prompt_tokens_details":
                usage["prompt_tokens_details"] = {"cached_tokens": _CACHED}
            case "timings" | "":
                pass
            case spelling:
                usage[spelling] = _CACHED
        return usage

    def _end(self) -> str:
        end: dict[str, Any] = {"choices": [], "usage": self._usage()}
        if self.vendor.cached == "timings":
            end["timings"] = {"cache_n": _CACHED, "prompt_n": 20}
        return json.dumps(end)


def serve(start: Callable[..., ScriptedLLM], vendor: Vendor) -> tuple[ScriptedLLM, VendorModel, str]:
    """Start a vendor's endpoint; returns it, its model, and its address."""
    model = VendorModel(vendor)
    llm = start(model)
    if vendor.embeddings:
        rules = vendor.embeddings

        def refused(request: Request) -> Reply | None:
            refusal = first_of(rules, request)
            if refusal is not None:
                model.refused.append(str(getattr(refusal, "message", "")))
            return refusal

        llm.rule_embeddings(refused)
    return llm, model, llm.base_url.removesuffix("/v1") + vendor.path + vendor.query


def _as_text(name: str, values: dict[str, Any]) -> str:
    """Return a call as Qwen's coders write it."""
    given = [value if isinstance(value, str) else json.dumps(value) for value in values.values()]
    parameters = "\n".join(f"<parameter={key}>\n{text}\n</parameter>" for key, text in zip(values, given, strict=True))
    return f"<tool_call>\n<function={name}>\n{parameters}\n</function>\n</tool_call>"


def _whole(events: list[str], usage: dict[str, Any]) -> str:
    """Return a whole completion in place of a stream."""
    content = ""
    calls: dict[int, Any] = {}
    for event in events:
        delta = json.loads(event)["choices"][0]["delta"]
        content += delta.get("content") or ""
        for entry in delta.get("tool_calls") or []:
            known = calls.setdefault(entry["index"], {**entry, "function": {**entry["function"], "arguments": ""}})
            known["function"]["arguments"] += entry["function"]["arguments"]
    message = {"role": "assistant", "content": content, "tool_calls": list(calls.values())}
    return json.dumps({"object": "chat.completion", "choices": [{"message": message}], "usage": usage})
