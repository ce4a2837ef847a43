"""An Agent on a real socket whose streams break as they are told to."""

# ruff: noqa: N802 - gRPC's names

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.event_pb2 import AssistantMessage, Done, Started, TurnEvent
from memgpt.memory.v1.agent_pb2 import Agent
from memgpt.memory.v1.turn_pb2 import TURN_STATE_COMPLETED

STARTED = TurnEvent(started=Started(request_id="r", turn_id="turn_1"))


def said(text: str, sequence: int) -> TurnEvent:
    """A message of the agent."""
    return TurnEvent(sequence=sequence, message=AssistantMessage(text=text))


def done(sequence: int) -> TurnEvent:
    """The end of a turn."""
    return TurnEvent(sequence=sequence, done=Done(state=TURN_STATE_COMPLETED))


@dataclass(frozen=True)
class Break:
    """The end of a stream before its turn's: a status, with details if it has a reason."""

    code: grpc.StatusCode
    reason: str = ""


Script = Sequence[TurnEvent | Break]


class FlakyAgent:
    """Plays one script for each call of SendMessage, ResumeTurn and Retry; a context manager.

    Attributes:
        address: Where it listens.
        asked: The requests, in order.
    """

    def __init__(self, *scripts: Script) -> None:
        self.asked: list[Any] = []
        self._scripts = iter(scripts)
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        streams = {"SendMessage": self.SendMessage, "ResumeTurn": self.ResumeTurn, "Retry": self.Retry}
        unary = {"GetAgent": self.GetAgent, "ListAgents": self.ListAgents, "CreateAgent": self.CreateAgent}
        handlers: dict[str, Any] = {
            name: grpc.unary_stream_rpc_method_handler(method, getattr(pb, f"{name}Request").FromString, _bytes)
            for name, method in streams.items()
        } | {
            name: grpc.unary_unary_rpc_method_handler(method, getattr(pb, f"{name}Request").FromString, _bytes)
            for name, method in unary.items()
        }
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("memgpt.agent.v1.AgentService", handlers)]
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> FlakyAgent:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def SendMessage(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for event in self._play(request, context):
            yield pb.SendMessageResponse(event=event)

    def ResumeTurn(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for event in self._play(request, context):
            yield pb.ResumeTurnResponse(event=event)

    def Retry(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for event in self._play(request, context):
            yield pb.RetryResponse(event=event)

    def GetAgent(self, request: Any, context: grpc.ServicerContext) -> pb.GetAgentResponse:
        self.asked.append(request)
        for each in next(self._scripts, ()):
            if isinstance(each, Break):
                _break(context, each)
        return pb.GetAgentResponse(agent=Agent(agent_id="a", name="Ada"))

    def ListAgents(self, request: Any, context: grpc.ServicerContext) -> pb.ListAgentsResponse:
        self.asked.append(request)
        number = int(request.page_token or 0)
        page = [Agent(agent_id=f"a{2 * number + i}") for i in range(2)]
        return pb.ListAgentsResponse(agents=page, next_page_token=str(number + 1) if number < 2 else "", total_size=6)

    def CreateAgent(self, request: Any, context: grpc.ServicerContext) -> pb.CreateAgentResponse:
        self.asked.append(request)
        return pb.CreateAgentResponse(agent=Agent(agent_id="a", name=request.name or "Named"))

    def _play(self, request: Any, context: grpc.ServicerContext) -> Iterator[TurnEvent]:
        with self._lock:
            self.asked.append(request)
            script: Script = next(self._scripts, ())
        for each in script:
            if isinstance(each, Break):
                _break(context, each)
            else:
                yield each


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _break(context: grpc.ServicerContext, end: Break) -> None:
    if end.reason:
        status = status_pb2.Status(code=end.code.value[0], message="told so")
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=end.reason, domain="memgpt"))
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id="req_1"))
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(end.code, "told so")
