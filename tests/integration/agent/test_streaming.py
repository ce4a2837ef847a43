"""A running turn as seen by a client: streamed text, silence, failures of the model, and slow readers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.agent.v1.event_pb2 import DELTA_KIND_MESSAGE, TurnEvent

from tests.integration.agent.conftest import Agents
from tests.integration.agent.test_agent_service import create, detail, scripted, send, spoken
from tests.support.scripted_llm import Completion, ScriptedLLM, Status, Stream, call, chunk

Start = Callable[..., ScriptedLLM]

PIECES = 5_000
WORDS = [f"word {n} " for n in range(PIECES)]
"""Different ones: a model that repeats itself is cut off."""
SECONDS = 60


def tool_call(*arguments: str) -> list[str]:
    """Events of a call of ``send_message`` whose arguments come in pieces."""
    head = {"index": 0, "id": "c1", "function": {"name": "send_message", "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in arguments]
    return [chunk(tool_calls=[entry]) for entry in (head, *rest)]


def stream(stub: AgentServiceStub, agent_id: str, request_id: str = "") -> Iterator[TurnEvent]:
    request = pb.SendMessageRequest(
        agent_id=agent_id, text="Hi", request_id=request_id, stream_deltas=True, skip_verify=True
    )
    for response in stub.SendMessage(request):
        yield response.event


@pytest.mark.parametrize("mode", ["tools", "json_schema"])
def test_every_piece_is_shown_before_the_next_one_is_written(agents: Agents, scripted_llm: Start, mode: str) -> None:
    shown = threading.Semaphore(0)
    pieces = ["Grüß ", "dich, ", "🐝 ", "Ada."]

    def events() -> Iterator[str]:
        def text(written: str) -> str:
            return tool_call(written)[1] if mode == "tools" else chunk(content=written)

        if mode == "tools":
            yield tool_call()[0]
            yield text('{"inner_thoughts": "I greet.", "message": "')
        else:
            yield text('{"inner_thoughts": "I greet.", "function": "send_message", "arguments": {"message": "')
        for piece in pieces:
            # As models write what is not ASCII: in escapes, which a piece may cut in two.
            escaped = json.dumps(piece)[1:-1]
            yield text(escaped[:-3])
            yield text(escaped[-3:])
            assert shown.acquire(timeout=SECONDS), f"{piece!r} did not arrive while the model was writing"
        yield text('"}' if mode == "tools" else '"}}')

    llm = scripted_llm([Stream(events())])
    with agents.start(**scripted(llm, mode)) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        seen = ""
        waiting = list(pieces)
        said = []
        for event in stream(stub, create(stub).agent_id):
            if event.HasField("delta") and event.delta.kind == DELTA_KIND_MESSAGE:
                seen += event.delta.text
                if seen.endswith(waiting[0]):
                    waiting.pop(0)
                    shown.release()
                    if not waiting:
                        waiting.append("\0")
            said += spoken([event])
    assert said == ["".join(pieces)] == [seen]


def test_a_turn_under_trouble(agents: Agents, scripted_llm: Start) -> None:
    quiet = threading.Event()

    def silence() -> Iterator[str]:
        assert quiet.wait(SECONDS)
        yield from tool_call('{"message": "Late."}')

    half = Completion(tool_calls=(("send_message", '{"message": "Half of a message"}'),), drop_after=4)
    search = call("archival_memory_search", query="bees", request_heartbeat=True)
    long = Stream(tool_call('{"message": "', *WORDS, '"}'))
    replies = [search, half, call("send_message", message="Whole."), Stream(silence()), long]
    replies += [search, Status(429, retry_after=70), call("send_message", message="At last.")]
    llm = scripted_llm(replies)
    settings = scripted(llm, "tools") | {
        "MEMGPT_AGENT_KEEP_ALIVE_SECONDS": "0.2",
        "MEMGPT_AGENT_MODEL_TIMEOUT": "120",
        "MEMGPT_AGENT_CONTEXT_WINDOW": "200000",
    }
    with agents.start(**settings) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        agent_id = create(stub).agent_id

        # A connection that breaks in mid-stream: what was shown is void, what was committed stays.
        events = list(stream(stub, agent_id))
        kinds = [event.WhichOneof("event") for event in events]
        restarted = kinds.index("step_restarted")
        assert spoken(events) == ["Whole."]
        assert kinds.count("function_call") == 2
        assert kinds.index("function_result") < restarted < kinds.index("message")
        attempts = [e.delta.attempt for e in events[restarted:] if e.HasField("delta")]
        assert set(attempts) == {events[restarted].step_restarted.attempt}

        # Silence: the stream says that it still runs.
        alive = 0
        for event in stream(stub, agent_id):
            alive += event.HasField("keep_alive")
            assert not event.HasField("keep_alive") or event.sequence == 0
            if alive == 3:
                quiet.set()
        assert alive >= 3

        # A reader who stops reading: the turn runs to its end, and the server does not run thousands of messages ahead.
        slow = stream(stub, agent_id, request_id="slow")
        first = next(event for event in slow if event.HasField("delta"))
        resume = pb.ResumeTurnRequest(agent_id=agent_id, request_id="slow")
        assert spoken(response.event for response in stub.ResumeTurn(resume)) == ["".join(WORDS)]
        rest = list(slow)
        assert spoken(rest) == ["".join(WORDS)]
        assert first.delta.text
        assert sum(event.HasField("delta") for event in rest) < PIECES / 5

        # Too many requests: the same request goes on after the step that was committed.
        with pytest.raises(grpc.RpcError) as caught:
            send(stub, agent_id, "Hi", request_id="limited")
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert detail(caught.value, RetryInfo).retry_delay.seconds == 70
        asked = len(llm.requests)
        events = send(stub, agent_id, "Hi", request_id="limited")
        assert [e.function_call.name for e in events if e.HasField("function_call")] == [
            "archival_memory_search",
            "send_message",
        ]
        assert len(llm.requests) == asked + 1
        assert llm.unused == 0
