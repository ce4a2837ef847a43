"""Text out of JSON that is still being written, so that thoughts and messages are shown while the model writes."""

from __future__ import annotations

from typing import Any

import jiter

from memgpt_agent.functions import declarations
from memgpt_agent.functions.schema import INNER_THOUGHTS
from memgpt_agent.models.base import DeltaKind, Sink


class PartialCall:
    """Follows one call as its JSON grows, and hands on what is new of its thought and its message."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._told = {DeltaKind.THOUGHT: 0, DeltaKind.MESSAGE: 0}

    def arguments(self, name: str, text: str) -> None:
        """The arguments of the function ``name`` so far, with the thought among them."""
        value = _parse(text)
        self._tell(DeltaKind.THOUGHT, value.get(INNER_THOUGHTS))
        if name == declarations.SEND_MESSAGE.name:
            self._tell(DeltaKind.MESSAGE, value.get("message"))

    def answer(self, text: str) -> None:
        """An object ``{inner_thoughts, function, arguments}`` so far."""
        value = _parse(text)
        self._tell(DeltaKind.THOUGHT, value.get(INNER_THOUGHTS))
        arguments = value.get("arguments")
        if value.get("function") == declarations.SEND_MESSAGE.name and isinstance(arguments, dict):
            self._tell(DeltaKind.MESSAGE, arguments.get("message"))

    def _tell(self, kind: DeltaKind, text: object) -> None:
        if isinstance(text, str) and len(text) > self._told[kind]:
            self._sink.delta(kind, text[self._told[kind] :])
            self._told[kind] = len(text)


def _parse(text: str) -> dict[str, Any]:
    try:
        value = jiter.from_json(text.encode("utf-8", "surrogatepass"), partial_mode="trailing-strings")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
