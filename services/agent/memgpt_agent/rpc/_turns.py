"""RPCs on turns: begin, resume, retry, cancel and list, and the events that they stream."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.event_pb2 import Started, TurnEvent
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt_runtime import reasons
from memgpt_runtime.ids import new_id

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import Context, Message, Role, TurnState
from memgpt_agent.loop import boot
from memgpt_agent.loop.event_stream import EventStream
from memgpt_agent.loop.events import Done
from memgpt_agent.loop.tool_executor import cancelled_call
from memgpt_agent.loop.turn_request import TurnRequest
from memgpt_agent.memory.client import call
from memgpt_agent.rpc import event_protos
from memgpt_agent.rpc._base import ServicerBase, new_time_placeholder

TURN_ID_KEY = "x-memgpt-turn-id"
"""Key of the trailing metadata with the turn's id, for the access logs of proxies."""


class TurnRpcs(ServicerBase):
    """RPCs on turns."""

    async def SendMessage(self, request: pb.SendMessageRequest, context: Any) -> AsyncIterator[pb.SendMessageResponse]:
        request_id, placeholder = request.request_id or new_id("req"), new_time_placeholder()
        turn = TurnRequest(
            agent_id=request.agent_id,
            request_id=request_id,
            fingerprint=_fingerprint(request),
            messages=(await self._input(request, placeholder),),
            time_placeholder=placeholder,
            verify=not request.skip_verify,
            max_steps=request.max_steps,
            max_tokens=request.max_tokens,
        )
        stream = self._turns.open(turn)
        async for event in self._events(stream, context, request_id, request.after_sequence, request.stream_deltas):
            yield pb.SendMessageResponse(event=event)

    async def ResumeTurn(self, request: pb.ResumeTurnRequest, context: Any) -> AsyncIterator[pb.ResumeTurnResponse]:
        # NOT_FOUND before anything is streamed.
        async for _ in self._memory.read_turn(request.agent_id, request.request_id, after_step=-1, follow=False):
            break
        stream = self._turns.open(TurnRequest(request.agent_id, request.request_id))
        request_id = request.request_id
        async for event in self._events(stream, context, request_id, request.after_sequence, request.stream_deltas):
            yield pb.ResumeTurnResponse(event=event)

    async def CancelTurn(self, request: pb.CancelTurnRequest, context: Any) -> pb.CancelTurnResponse:
        placeholder = new_time_placeholder()
        asked = state_pb.RequestCancelRequest(
            agent_id=request.agent_id,
            request_id=request.request_id,
            call_result=cancelled_call(placeholder),
            time_placeholder=placeholder,
        )
        return pb.CancelTurnResponse(turn=(await call(self._memory.agents.RequestCancel(asked))).turn)

    async def ListTurns(self, request: pb.ListTurnsRequest, context: Any) -> pb.ListTurnsResponse:
        asked = state_pb.ListTurnsRequest(
            agent_id=request.agent_id, page_size=request.page_size, page_token=request.page_token
        )
        page = await call(self._memory.agents.ListTurns(asked))
        return pb.ListTurnsResponse(turns=page.turns, next_page_token=page.next_page_token)

    async def Retry(self, request: pb.RetryRequest, context: Any) -> AsyncIterator[pb.RetryResponse]:
        request_id = request.request_id or new_id("req")
        turn = TurnRequest(
            agent_id=request.agent_id,
            request_id=request_id,
            fingerprint=hashlib.sha256(f"{request.agent_id}\0retry".encode()).digest(),
            verify=not request.skip_verify,
            max_steps=request.max_steps,
            max_tokens=request.max_tokens,
            retry=True,
        )
        stream = self._turns.open(turn)
        async for event in self._events(stream, context, request_id, request.after_sequence, request.stream_deltas):
            yield pb.RetryResponse(event=event)

    async def _events(
        self, stream: EventStream, context: Any, request_id: str, after_sequence: int, deltas: bool
    ) -> AsyncIterator[TurnEvent]:
        """Yield the events of a turn; a failed turn also ends with a status, even in replays."""
        first = TurnEvent(started=Started(request_id=request_id, turn_id=stream.turn_id))
        yield first
        silence = self._settings.keep_alive_seconds
        async for event in stream.events(after_sequence=after_sequence, deltas=deltas, keep_alive=silence):
            told = event_protos.event(event)
            if told.HasField("started"):
                told.started.request_id = request_id
                _add_trailer(context, TURN_ID_KEY, told.started.turn_id)
            if told != first:
                yield told
            if isinstance(event.body, Done) and event.body.state is TurnState.FAILED:
                raise reasons.model_unusable(event.body.reason, model="")

    async def _input(self, request: pb.SendMessageRequest, time: str) -> Message:
        """Return the agent's input in its envelope; ``time`` is the placeholder for the time of the turn."""
        if request.HasField("text"):
            return Message(Role.USER, envelopes.user_message(request.text, time, request.user_name))
        if request.event == pb.SYSTEM_EVENT_LOGIN:
            return Message(Role.USER, _login(await self._memory.load_context(request.agent_id), time))
        if request.event == pb.SYSTEM_EVENT_MEMORY_WARNING:
            return Message(Role.USER, envelopes.system_alert(prompt.MEMORY_PRESSURE_ALERT, time))
        return Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_MANUAL, time))


def _add_trailer(context: Any, key: str, value: str) -> None:
    """Add an entry to the trailing metadata of a call."""
    others = (entry for entry in context.trailing_metadata() or () if entry[0] != key)
    context.set_trailing_metadata((*others, (key, value)))


def _fingerprint(request: pb.SendMessageRequest) -> bytes:
    """Return a digest of what identifies the turn, without options of following or limiting it."""
    kind = "text" if request.HasField("text") else f"event {request.event}"
    parts = "\0".join((request.agent_id, kind, request.user_name, request.text))
    return hashlib.sha256(parts.encode()).digest()


def _login(context: Context, time: str) -> str:
    """Return the event of a login; a new agent, which has one in its boot sequence, is only told to begin."""
    if boot.awaits_first_answer(context):
        return envelopes.heartbeat(prompt.HEARTBEAT_BEGIN, time)
    last = context.messages[-1].created_at if context.messages else context.agent.updated_at
    return envelopes.login(envelopes.format_time(last, context.agent.time_zone), time)
