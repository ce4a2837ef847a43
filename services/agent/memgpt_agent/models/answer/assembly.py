"""Assembly of calls that arrive in pieces.

Servers number calls from 0 or from 1, give all of them one number, a new id with every piece, or neither number nor id;
they repeat names, send arguments as objects, or repeat everything sent before. Two calls are told apart, in this order,
by their numbers, by a second known name, and by arguments that are complete already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memgpt_agent import envelopes
from memgpt_agent.models.answer.answer import RawCall
from memgpt_agent.models.answer.function_names import FunctionNames
from memgpt_agent.models.answer.lenient_json import decode, read_object
from memgpt_agent.models.answer.surrogates import SurrogateJoiner, whole

_MAX_CALLS = 32
_EXTRAS = ("extra_content", "thought_signature", "thoughtSignature", "provider_specific_fields")


@dataclass(slots=True, eq=False)
class _Open:
    """A call that may grow."""

    index: int | None
    call_id: str
    name: str = ""
    arguments: str = ""
    shown: int = 0
    extra: dict[str, object] = field(default_factory=dict)
    pieces: SurrogateJoiner = field(default_factory=SurrogateJoiner)

    @property
    def complete(self) -> bool:
        return _is_whole(self.arguments)


class CallAssembly:
    """The calls of one answer."""

    def __init__(self, names: FunctionNames) -> None:
        self._names = names
        self._calls: list[_Open] = []
        self._touched: list[_Open] = []

    def add(self, entries: Sequence[object]) -> Iterator[tuple[str, str, bool]]:
        """Add the entries of one ``tool_calls``.

        Yields:
            The name of a call, the new text of its arguments, and whether the call is the first one, which is shown.
        """
        self._touched = []
        for entry in entries:
            if isinstance(entry, dict) and (call := self._add(entry)) is not None:
                before = call.shown
                call.shown = len(call.arguments)
                yield call.name, call.arguments[before:], call is self._calls[0]

    def _add(self, entry: dict[str, Any]) -> _Open | None:
        function = entry.get("function") or entry.get("custom")
        if isinstance(function, str):  # the name, or everything as JSON
            function = read_object(function) or {**entry, "name": function}
        function = function if isinstance(function, dict) else entry
        name = function.get("name")
        name = name if isinstance(name, str) else ""
        arguments = arguments_of(function)
        call_id = str(entry.get("id") or "")
        if not name.strip() and not any(call.call_id == call_id for call in self._calls):
            name = self._names.known(call_id)  # such as functions.send_message:0
        if not name.strip() and not arguments and not self._calls:
            return None
        call = self._target(_index(entry.get("index")), call_id, name)
        if call is None:
            return None
        self._touched.append(call)
        for source in (entry, function):
            call.extra |= {key: source[key] for key in _EXTRAS if source.get(key)}
        self._rename(call, name)
        self._grow(call, arguments)
        return call

    @property
    def complete(self) -> bool:
        """Whether there are calls, and the arguments of each can be read."""
        return bool(self._calls) and all(call.complete for call in self._calls)

    def calls(self) -> tuple[RawCall, ...]:
        """Return the calls so far, without nameless ones and repetitions of a name without arguments."""
        named = [call for call in self._calls if call.name.strip()]
        names = [self._names.spelled(whole(call.name), bare=not call.arguments.strip()) for call in named]
        return tuple(
            RawCall(name, whole(call.arguments), call.extra or None)
            for place, (name, call) in enumerate(zip(names, named, strict=True))
            if call.arguments.strip() or name not in names[:place]
        )

    def _target(self, index: int | None, call_id: str, name: str) -> _Open | None:
        """Return the call that an entry belongs to, a new one if it begins one."""
        call = self._candidate(index, call_id)
        if call is not None and not self._begins_another(call, call_id, name):
            return call
        if call is None and not name and self._calls and not self._calls[-1].complete:
            return self._calls[-1]  # a number that changes from piece to piece
        if len(self._calls) >= _MAX_CALLS:
            return None
        self._calls.append(_Open(index, call_id))
        return self._calls[-1]

    def _candidate(self, index: int | None, call_id: str) -> _Open | None:
        known = [call for call in self._calls if call_id and call.call_id == call_id]
        if not known and index is not None:
            known = [call for call in self._calls if call.index == index]
        if not known and index is None and self._calls:
            known = self._calls
        return known[-1] if known else None

    def _begins_another(self, call: _Open, call_id: str, name: str) -> bool:
        if not name.strip():
            return False
        mine, theirs = self._names.known(call.name), self._names.known(name)
        if call in self._touched or (mine and theirs and mine != theirs):
            return True
        same_id = bool(call_id) and call_id == call.call_id
        if call.complete:
            return not same_id
        # Servers that send a new id with every piece send no second name before the arguments.
        return bool(call_id and call.call_id and not same_id and mine and theirs and not call.arguments)

    def _rename(self, call: _Open, name: str) -> None:
        """Set the name of a call, or append to it."""
        if not name or name == call.name:
            return
        if self._names.known(call.name) and not self._names.known(call.name + name):
            return
        call.name = name if name.startswith(call.name) else call.name + name

    def _grow(self, call: _Open, arguments: str) -> None:
        before = call.arguments
        if before.strip() == "{}" and arguments.lstrip().startswith("{"):
            call.arguments, call.shown = "", 0  # a placeholder
        elif before.lstrip().startswith("{") and arguments.startswith(before):
            arguments = arguments[len(before) :]  # the server repeats everything sent before
        elif _is_whole(arguments) and call.complete:
            return  # the same arguments, written with other spaces
        call.arguments += call.pieces.feed(arguments)


def arguments_of(function: Mapping[str, Any]) -> str:
    """Return the text of the arguments in a part of a call, which some servers send as an object."""
    given = next((function[key] for key in ("arguments", "input", "parameters", "args") if function.get(key)), "")
    return given if isinstance(given, str) else envelopes.dumps(given) if isinstance(given, dict | list) else ""


def _is_whole(text: str) -> bool:
    stripped = text.strip()
    if not stripped.endswith(("}", "]", '"')):
        return False
    try:
        _, end = decode(stripped)
    except (ValueError, RecursionError):
        return False
    return end == len(stripped)


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 6:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
