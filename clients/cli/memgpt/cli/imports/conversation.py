"""Conversion of another system's messages to those of recall memory."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.cli.call_arguments import LETTA_NAMES, renamed
from memgpt.cli.imports import names
from memgpt.cli.imports.bounded import clean
from memgpt.cli.imports.pieces import Assistant, Call, Message, Result, Results, User
from memgpt.cli.imports.report import Report
from memgpt.memory.v1 import message_pb2 as pb

MAX_TEXT = 1 << 20
"""Maximum bytes of the text of a message or a note."""

_MAX_FUNCTION = 64
_MAX_HELD = 256
_TIME_FORMAT = "%Y-%m-%d %I:%M:%S %p %Z%z"
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
_EVENTS = ("user_message", "heartbeat", "login", "system_alert", "system_status")


@dataclass(slots=True)
class Conversation:
    """Converts messages, one pass at a time.

    Attributes:
        time_zone: Name of the zone of times in the texts.
        report: Where changes are recorded.
        start: After a pass, the sequence of the first message in the window.
        count: After a pass, the number of messages.
        widened: After a pass, the number of messages that are in the window only because later ones are not the last.
    """

    time_zone: str
    report: Report
    start: int = 0
    count: int = 0
    widened: int = 0
    _held: list[Message] = field(default_factory=list)
    _call: Message | None = None
    _time: datetime | None = None
    _last_assistant: int = -1

    def convert(self, messages: Iterable[Message]) -> Iterator[pb.Message]:
        """Yield the messages of recall memory.

        Each call becomes a message of its own, followed by its result; a message of the other system can have several
        calls. Results may come late: messages of users in between follow after them.
        """
        self._held, self._call, self._time = [], None, None
        self.start, self.count, self.widened = -1, 0, 0
        for message in map(self._timed, messages):
            if self._call is None:
                if isinstance(message.content, Assistant) and message.content.calls:
                    self._call = message
                else:
                    yield from self._plain(message)
                continue
            if isinstance(message.content, Assistant) or len(self._held) >= _MAX_HELD:
                yield from self._paired()
                if isinstance(message.content, Assistant) and message.content.calls:
                    self._call = message
                else:
                    yield from self._plain(message)
            else:
                self._held.append(message)
        yield from self._paired()
        if self.start < 0:
            self.start = self.count

    def _paired(self) -> Iterator[pb.Message]:
        """Yield the held assistant's message with its calls, each with its result, then what else was held."""
        made, held = self._call, self._held
        self._call, self._held = None, []
        if made is None:
            return
        content = made.content
        assert isinstance(content, Assistant)  # noqa: S101 - for the type checker
        wanted = {call.call_id for call in content.calls}
        unnamed = deque(call.call_id for call in content.calls)
        found: dict[str, tuple[Result, Message]] = {}
        rest: list[Message] = []
        for message in held:
            if not isinstance(message.content, Results):
                rest.append(message)
                continue
            other = []
            for result in message.content.results:
                call_id = result.call_id
                while not call_id and unnamed and "" not in wanted:
                    # A result that does not tell its call is that of the first call without one.
                    call_id = unnamed.popleft()
                    call_id = "" if call_id in found else call_id
                if call_id in wanted and call_id not in found:
                    found[call_id] = (result, message)
                else:
                    other.append(result)
            if other:
                rest.append(Message(Results(tuple(other)), message.time, message.in_window, message.where))
        thought = content.thought
        if content.reply:
            yield from self._reply(made, thought, content.reply)
            thought = ""
        if len(content.calls) > 1:
            self.report.changed(made.where, "parallel calls became single ones, each with its result")
        for call in content.calls:
            yield from self._exchange(made, thought, call, found.get(call.call_id))
            thought = ""
        for message in rest:
            yield from self._plain(message)

    def _plain(self, message: Message) -> Iterator[pb.Message]:
        content = message.content
        match content:
            case User():
                yield self._message(message, pb.ROLE_USER, text=self._event(message, content))
            case Assistant():
                if content.reply:
                    yield from self._reply(message, content.thought, content.reply)
                elif content.thought:
                    yield self._assistant(message, content.thought, None)
                else:
                    self.report.left_out(message.where, "message without content")
            case Results():
                for result in content.results:
                    self.report.left_out(message.where, "result without its call", result.text)

    def _reply(self, message: Message, thought: str, reply: str) -> Iterator[pb.Message]:
        call = Call(f"reply {self.count}", "send_message", json.dumps({"message": reply}, ensure_ascii=False))
        self.report.changed(message.where, "plain text reply became a call of send_message")
        call_id = names.made_call_id(call.call_id)
        yield self._assistant(message, thought, self._function_call(message, call, call_id))
        yield self._message(message, pb.ROLE_TOOL, text=self._result(message, "None", ok=True), call_id=call_id)

    def _exchange(
        self, message: Message, thought: str, call: Call, found: tuple[Result, Message] | None
    ) -> Iterator[pb.Message]:
        call_id = names.call_id(call.call_id)
        if call_id != call.call_id:
            self.report.changed(message.where, "id of a call does not fit; it became a digest", call.call_id)
        yield self._assistant(message, thought, self._function_call(message, call, call_id))
        if found is None:
            self.report.changed(message.where, "call without a result; a failed one was made", call.name)
            text = self._result(message, "The result was not in the imported file.", ok=False)
            yield self._message(message, pb.ROLE_TOOL, text=text, call_id=call_id)
            return
        result, source = found
        text = self._result(source, clean(result.text), ok=result.ok)
        yield self._message(source, pb.ROLE_TOOL, text=text, call_id=call_id)

    def _function_call(self, message: Message, call: Call, call_id: str) -> pb.FunctionCall:
        name = clean(call.name)[:_MAX_FUNCTION] or "unnamed"
        if name != call.name:
            self.report.changed(message.where, "name of a function is too long or empty", call.name)
        arguments = clean(call.arguments)
        if name in LETTA_NAMES:
            arguments = self._renamed(message, name, arguments)
        return pb.FunctionCall(call_id=call_id, name=name, arguments=self._bounded(message.where, arguments))

    def _renamed(self, message: Message, name: str, arguments: str) -> str:
        ours, theirs = LETTA_NAMES[name]
        made = renamed(arguments, theirs, ours, lambda block: names.label(block) if isinstance(block, str) else block)
        if made != arguments:
            self.report.changed(message.where, f"argument {theirs} of {name} became {ours}")
        return made

    def _assistant(self, message: Message, thought: str, call: pb.FunctionCall | None) -> pb.Message:
        self._last_assistant = self.count
        return self._message(
            message, pb.ROLE_ASSISTANT, text=self._bounded(message.where, clean(thought)), function_call=call
        )

    def _message(
        self,
        message: Message,
        role: pb.Role.ValueType,
        *,
        text: str,
        function_call: pb.FunctionCall | None = None,
        call_id: str = "",
    ) -> pb.Message:
        if message.in_window and self.start < 0:
            # A result stays with its call.
            self.start = self._last_assistant if role == pb.ROLE_TOOL else self.count
        elif self.start >= 0 and not message.in_window:
            self.widened += 1
        made = pb.Message(
            sequence=self.count,
            role=role,
            text=text,
            function_call=function_call,
            call_id=call_id,
            create_time=self._stamp(message),
        )
        self.count += 1
        return made

    def _stamp(self, message: Message) -> Timestamp | None:
        self._time = message.time or self._time
        return timestamp(self._time)

    def _timed(self, message: Message) -> Message:
        """Return a message without a time that cannot be stored, nor be represented in every time zone."""
        if valid_time(message.time):
            return message
        self.report.changed(message.where, "time is not in the years 1970 to 9998", str(message.time))
        return replace(message, time=None)

    def _event(self, message: Message, user: User) -> str:
        text = clean(user.text)
        if is_event(text):
            return self._kept(message.where, text)
        envelope = {"type": "user_message", "message": text}
        if message.time is not None:
            envelope["time"] = self._local(message.time)
        if name := names.visible(user.name):
            envelope["name"] = name
        return self._fitted(message.where, envelope)

    def _result(self, message: Message, text: str, *, ok: bool) -> str:
        """Return the envelope of a result; a text that is one stays as it is."""
        if _is_result(text):
            return self._kept(message.where, text)
        envelope = {"status": "OK" if ok else "Failed", "message": text}
        if message.time is not None:
            envelope["time"] = self._local(message.time)
        return self._fitted(message.where, envelope)

    def _kept(self, where: str, text: str) -> str:
        """Return an envelope as it is, or with less of its message if it is too long."""
        if len(text.encode()) <= MAX_TEXT:
            return text
        value = _object(text)
        return self._fitted(where, value) if isinstance(value.get("message"), str) else self._bounded(where, text)

    def _fitted(self, where: str, envelope: dict[str, Any]) -> str:
        """Return an envelope as JSON, which stays valid: what is too long is cut from its message."""
        text = json.dumps(envelope, ensure_ascii=False)
        over = len(text.encode()) - MAX_TEXT
        if over <= 0:
            return text
        message = envelope["message"]
        kept, rest = split_bytes(message, max(0, len(message.encode()) - over))
        self.report.left_out(where, "rest of a message over 1 MiB", rest)
        return self._bounded(where, json.dumps({**envelope, "message": kept}, ensure_ascii=False))

    def _local(self, time: datetime) -> str:
        return time.astimezone(ZoneInfo(self.time_zone)).strftime(_TIME_FORMAT)

    def _bounded(self, where: str, text: str) -> str:
        kept, rest = split_bytes(clean(text), MAX_TEXT)
        if rest:
            self.report.left_out(where, "rest of a message over 1 MiB", rest)
        return kept


def split_bytes(text: str, limit: int) -> tuple[str, str]:
    """Return the beginning of a text with at most `limit` bytes of UTF-8, and the rest."""
    data = text.encode()
    if len(data) <= limit:
        return text, ""
    kept = data[:limit].decode(errors="ignore")
    return kept, text[len(kept) :]


def timestamp(time: datetime | None) -> Timestamp | None:
    """Return a time as protobuf has it."""
    if time is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(time.astimezone(UTC))
    return stamp


def valid_time(time: datetime | None) -> bool:
    """Return whether a time can be stored; None can."""
    return time is None or _FIRST <= time < _LAST


def is_event(text: str) -> bool:
    """Return whether a text is the JSON envelope of an event; a user may have sent any other JSON."""
    return _object(text).get("type") in _EVENTS


def _is_result(text: str) -> bool:
    value = _object(text)
    return value.get("status") in ("OK", "Failed") and "message" in value


def _object(text: str) -> dict[str, object]:
    if not text.lstrip().startswith("{"):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
