"""What an endpoint understands of OpenAI's protocol, found out by what it refuses.

Every option that servers are known to refuse has something to fall back to. What was refused once is not tried again
for that model.
"""

from __future__ import annotations

from memgpt_agent.models.base import ModelRequest
from memgpt_agent.models.endpoint import EndpointSettings, Mode
from memgpt_agent.models.request import history, plain, schemas

Body = dict[str, object]

_OLD_NAME, _NEW_NAME = "max_tokens", "max_completion_tokens"


class Dialect:
    """How one model of an endpoint is asked. The first entry of each list is in force."""

    def __init__(self, settings: EndpointSettings) -> None:
        self._temperature = settings.temperature
        # OpenAI's reasoning models take the new name only, many other servers the old one only.
        names = [_OLD_NAME, _NEW_NAME] if settings.base_url else [_NEW_NAME, _OLD_NAME]
        self._choices: dict[str, list[str]] = {
            "stream_options": ["include_usage", ""],
            "tool_choice": ["required", "auto", ""],
            "response_format": ["json_schema", "json_object", ""],
            "temperature": ["given", ""],
            "max_tokens": [*names, ""],
        }

    def body(self, request: ModelRequest, model: str, mode: Mode) -> Body:
        """The request as it goes out."""
        body: Body = {"model": model, "stream": True}
        if self._takes("stream_options"):
            body["stream_options"] = {"include_usage": True}
        if self._temperature is not None and self._takes("temperature"):
            body["temperature"] = self._temperature
        if request.max_tokens and (name := self._takes("max_tokens")):
            body[name] = request.max_tokens
        if not request.functions:
            body["messages"] = plain.json_messages(request.messages, ())
        elif mode is Mode.JSON_SCHEMA:
            body["messages"] = plain.json_messages(request.messages, request.functions, documents=request.documents)
            match self._takes("response_format"):
                case "json_schema":
                    body["response_format"] = schemas.json_schema(request.functions, request.messages)
                case "json_object":
                    body["response_format"] = {"type": "json_object"}
                case _:
                    pass
        else:
            body["messages"] = history.tool_messages(request.messages)
            body["tools"] = schemas.tools(request.functions)
            if choice := self._takes("tool_choice"):
                body["tool_choice"] = choice
        return body

    def fall_back(self, body: Body, problem: str) -> str:
        """Takes the next choice for an option of ``body`` that an endpoint's words name.

        Returns:
            The option; empty if there is none, or nothing to fall back to.
        """
        for option, choices in self._choices.items():
            in_use = option in body or (option == "max_tokens" and _NEW_NAME in body)
            if in_use and choices[0] and _names(problem, option):
                choices.pop(0)
                return option
        return ""

    def _takes(self, option: str) -> str:
        return self._choices[option][0]


def _names(problem: str, option: str) -> bool:
    match option:
        case "max_tokens":
            return _OLD_NAME in problem or _NEW_NAME in problem
        case "response_format":
            return any(word in problem for word in ("response_format", "json_schema", "json_object", "grammar"))
        case _:
            return option in problem
