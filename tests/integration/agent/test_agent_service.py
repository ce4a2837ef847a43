"""The Agent over the wire, with a real Memory behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

import grpc
import pytest
import yaml
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.agent.v1.heartbeat_pb2 import Heartbeat, HeartbeatLimits
from memgpt.common.v1.permission_pb2 import PERMISSION_READ, permission
from memgpt.memory.v1 import agent_pb2, block_pb2, profile_pb2, turn_pb2
from memgpt.memory.v1 import source_service_pb2 as source_pb
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, ExportEnd, ExportHeader, ExportWindow
from memgpt.memory.v1.message_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_USER
from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceStub
from memgpt.memory.v1.tool_pb2 import ToolFunction, ToolServer
from memgpt_agent.functions.send_message import SENT
from memgpt_agent.loop.final_reply import REJECTED
from memgpt_agent.rpc import agent_names

from scripts import envoy
from tests.integration.agent.conftest import Agents
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Completion, Hang, Request, ScriptedLLM, Status, call, choose, say

Start = Callable[..., ScriptedLLM]


def create(stub: AgentServiceStub, **fields: Any) -> agent_pb2.Agent:
    return stub.CreateAgent(pb.CreateAgentRequest(**fields)).agent


def send(stub: AgentServiceStub, agent_id: str, text: str = "Hello!", **fields: Any) -> list[TurnEvent]:
    request = pb.SendMessageRequest(agent_id=agent_id, text=text, **fields)
    return [response.event for response in stub.SendMessage(request)]


def spoken(events: Iterable[TurnEvent]) -> list[str]:
    return [event.message.text for event in events if event.HasField("message")]


def detail(error: grpc.RpcError, kind: Any) -> Any:
    status = rpc_status.from_call(error)
    found = kind()
    assert status is not None
    assert any(packed.Unpack(found) for packed in status.details), status
    return found


def test_a_new_agent(stub: AgentServiceStub) -> None:
    agent = create(stub, persona="memgpt_doc", time_zone="Europe/Berlin", core_memory_limit=3000)
    assert (agent.preset, agent.persona, agent.human) == ("memgpt_chat", "memgpt_doc", "basic")
    assert agent.name.isalnum()
    assert agent.message_count == 3
    context = stub.GetContext(pb.GetContextRequest(agent_id=agent.agent_id))
    assert [(b.label, b.limit) for b in context.blocks] == [("persona", 3000), ("human", 3000)]
    assert context.messages[0].message.role == ROLE_SYSTEM
    assert context.messages[0].message.sequence == -1
    assert '<persona characters="' in context.messages[0].message.text
    parts = context.tokens
    assert context.total_tokens == parts.functions + sum(m.tokens for m in context.messages)
    assert parts.summary == 0
    assert min(parts.instructions, parts.blocks, parts.functions, parts.messages) > 0
    assert context.total_tokens == parts.instructions + parts.blocks + parts.functions + parts.messages
    assert context.context_window == 32768


def test_a_message_larger_than_the_window_costs_what_the_model_sees_of_it(stub: AgentServiceStub) -> None:
    agent = create(stub, context_window=2048)
    text = "the committee decided nothing " * 500
    send(stub, agent.agent_id, text)
    context = stub.GetContext(pb.GetContextRequest(agent_id=agent.agent_id))
    assert any(text in item.message.text for item in context.messages)
    assert context.total_tokens <= context.context_window == 2048


def test_the_largest_context_fits_into_a_response(agents: Agents, stub: AgentServiceStub) -> None:
    """Every text is as long as it may be, of characters of four bytes."""
    wide = "\U0001d54f"
    blocks = [
        block_pb2.Block(
            label=f"b{number:02}".ljust(64, "b"), value=wide * 20_000, limit=20_000, description=wide * 1000
        )
        for number in range(32)
    ]
    settings = agent_pb2.Agent(system=wide * 65_536, description=wide * 1000)
    pieces = [
        AgentPiece(header=ExportHeader(format_version=2)),
        AgentPiece(agent=settings),
        *(AgentPiece(block=block) for block in blocks),
        AgentPiece(window=ExportWindow(summary=wide * 20_000)),
        AgentPiece(end=ExportEnd(block_count=len(blocks))),
    ]
    agent_id = stub.ImportAgent(
        pb.ImportAgentRequest(piece=piece, name=wide * 128 if number == 0 else "")
        for number, piece in enumerate(pieces)
    ).agent.agent_id
    with grpc.insecure_channel(agents.memory_address) as channel:
        sources = SourceServiceStub(channel)
        for number in range(1000):
            name = f"{number:04}".ljust(128, wide)
            source = sources.CreateSource(source_pb.CreateSourceRequest(name=name)).source
            stub.AttachSource(pb.AttachSourceRequest(agent_id=agent_id, source_id=source.source_id))
    context = stub.GetContext(pb.GetContextRequest(agent_id=agent_id))
    assert context.ByteSize() <= 3 << 20
    assert [block.value for block in context.blocks] == [wide * 20_000] * 32
    assert not context.agent.attachments
    assert len(stub.GetAgent(pb.GetAgentRequest(agent_id=agent_id)).agent.attachments) == 1000


def test_more_functions_than_can_be_registered_are_imported_and_fit_into_a_response(stub: AgentServiceStub) -> None:
    """Earlier versions registered them."""
    parameters = json.dumps({"type": "object", "properties": {}, "description": "d" * 60_000})
    servers = [
        ToolServer(
            address=f"{host}:1",
            functions=[
                ToolFunction(name=f"{host}{number}", description="Do it.", parameters=parameters)
                for number in range(50)
            ],
        )
        for host in ("a", "b")
    ]
    pieces = [
        AgentPiece(header=ExportHeader(format_version=2)),
        AgentPiece(agent=agent_pb2.Agent()),
        *(AgentPiece(tool_server=server) for server in servers),
        AgentPiece(window=ExportWindow()),
        AgentPiece(end=ExportEnd(tool_server_count=2)),
    ]
    agent_id = stub.ImportAgent(
        pb.ImportAgentRequest(piece=piece, name="" if number else uuid4().hex) for number, piece in enumerate(pieces)
    ).agent.agent_id
    listed = stub.ListTools(pb.ListToolsRequest(agent_id=agent_id))
    assert listed.ByteSize() <= 3 << 20
    assert [[one.name for one in each.functions] for each in listed.servers] == [
        [one.name for one in each.functions] for each in servers
    ]
    again = [one.piece for one in stub.ExportAgent(pb.ExportAgentRequest(agent_id=agent_id))]
    tools = [piece.tool_server.functions for piece in again if piece.HasField("tool_server")]
    assert [len(function.parameters) > 60_000 for each in tools for function in each] == [True] * 100


def test_creating_is_repeatable(stub: AgentServiceStub) -> None:
    first = create(stub, request_id="create-1")
    assert create(stub, request_id="create-1") == first
    named = create(stub, request_id="create-2", name="Named")
    assert create(stub, request_id="create-2", name="Named").agent_id == named.agent_id
    with pytest.raises(grpc.RpcError) as caught:
        create(stub, request_id="create-2", name="Other")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(caught.value, ErrorInfo).reason == "REQUEST_ID_REUSED"


def test_creating_without_a_name_is_repeatable_though_a_name_is_free_by_then(stub: AgentServiceStub) -> None:
    request_id = uuid4().hex
    holder = create(stub, name=agent_names.agent_name(request_id))
    first = create(stub, request_id=request_id)
    assert first.name == agent_names.agent_name(request_id, 1)
    stub.DeleteAgent(pb.DeleteAgentRequest(agent_id=holder.agent_id))
    assert create(stub, request_id=request_id) == first


def test_a_turn_is_streamed_and_replayed(stub: AgentServiceStub) -> None:
    agent = create(stub)
    live = send(stub, agent.agent_id, "Hi there!", request_id="turn-1", stream_deltas=True)
    durable = [event for event in live if event.sequence]
    assert [event.sequence for event in durable] == list(range(1, len(durable) + 1))
    assert durable[-1].done.state == turn_pb2.TURN_STATE_COMPLETED
    deltas = "".join(e.delta.text for e in live if e.HasField("delta") and e.delta.kind == 2)
    assert [deltas] == spoken(live)
    assert [
        event for event in send(stub, agent.agent_id, "Hi there!", request_id="turn-1") if event.sequence
    ] == durable
    resume = pb.ResumeTurnRequest(agent_id=agent.agent_id, request_id="turn-1", after_sequence=3)
    assert [r.event for r in stub.ResumeTurn(resume) if r.event.sequence] == durable[3:]
    turns = stub.ListTurns(pb.ListTurnsRequest(agent_id=agent.agent_id)).turns
    assert [(t.request_id, t.state) for t in turns] == [("turn-1", turn_pb2.TURN_STATE_COMPLETED)]


def test_a_stream_begins_with_the_ids_of_its_turn(stub: AgentServiceStub) -> None:
    agent = create(stub)
    request = pb.SendMessageRequest(agent_id=agent.agent_id, text="Hi")
    # Proxies put ids of their own there: it means the call, not the turn.
    events = [response.event for response in stub.SendMessage(request, metadata=(("x-request-id", "of-a-proxy"),))]
    started = [event.started for event in events if event.HasField("started")]
    assert events[0].HasField("started")
    (turn,) = stub.ListTurns(pb.ListTurnsRequest(agent_id=agent.agent_id)).turns
    assert {each.request_id for each in started} == {turn.request_id}
    assert started[-1].turn_id == turn.turn_id
    resume = pb.ResumeTurnRequest(agent_id=agent.agent_id, request_id=turn.request_id)
    replay = [response.event for response in stub.ResumeTurn(resume)]
    assert replay[0].HasField("started")
    assert [event for event in replay if event.sequence] == [event for event in events if event.sequence]


@pytest.mark.parametrize("request_id", ["Nr. 1 für Ömer", "会话", "a\0b", "a\nb", " "])
def test_any_text_names_a_turn(stub: AgentServiceStub, request_id: str) -> None:
    agent = create(stub)
    turn_id = f"{request_id}{uuid4().hex}"
    events = send(stub, agent.agent_id, request_id=turn_id)
    assert events[-1].done.state == turn_pb2.TURN_STATE_COMPLETED
    resumed = stub.ResumeTurn(pb.ResumeTurnRequest(agent_id=agent.agent_id, request_id=turn_id))
    replay = [response.event for response in resumed if response.event.sequence]
    assert replay == [event for event in events if event.sequence]
    again = [response.event for response in stub.Retry(pb.RetryRequest(agent_id=agent.agent_id, request_id=request_id))]
    assert again[-1].done.state == turn_pb2.TURN_STATE_COMPLETED


def test_events_of_the_client(stub: AgentServiceStub) -> None:
    agent = create(stub)

    def event(kind: pb.SystemEvent.ValueType) -> list[str]:
        request = pb.SendMessageRequest(agent_id=agent.agent_id, event=kind)
        return spoken(response.event for response in stub.SendMessage(request))

    assert event(pb.SYSTEM_EVENT_LOGIN)[0].startswith("Hello!")
    assert event(pb.SYSTEM_EVENT_HEARTBEAT)
    event(pb.SYSTEM_EVENT_MEMORY_WARNING)
    assert event(pb.SYSTEM_EVENT_LOGIN)


def test_what_it_learns_stays(stub: AgentServiceStub) -> None:
    agent = create(stub)
    send(stub, agent.agent_id, "My name is Ada.")
    send(stub, agent.agent_id, "Remember that the key lies under the blue stone.")
    context = stub.GetContext(pb.GetContextRequest(agent_id=agent.agent_id))
    assert context.blocks[1].value.endswith("Name: Ada")
    assert context.archival_count == 1
    assert "blue stone" in spoken(send(stub, agent.agent_id, "Where does the key lie?"))[0]
    assert "Ada" in spoken(send(stub, agent.agent_id, "What is my name?"))[0]


def test_summarize(stub: AgentServiceStub) -> None:
    agent = create(stub)
    for number in range(4):
        send(stub, agent.agent_id, f"I was in town number {number} today and saw an old friend of mine.")
    done = stub.Summarize(pb.SummarizeRequest(agent_id=agent.agent_id, request_id="sum-1"))
    assert done.evicted_count > 0
    context = stub.GetContext(pb.GetContextRequest(agent_id=agent.agent_id))
    assert context.summary == done.summary
    assert context.messages[1].message.role == ROLE_USER
    assert done.summary in context.messages[1].message.text
    assert spoken(send(stub, agent.agent_id, "Hello again!"))
    stub.DeleteAgent(pb.DeleteAgentRequest(agent_id=agent.agent_id))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Summarize(pb.SummarizeRequest(agent_id=agent.agent_id, request_id="sum-1"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_nothing_to_summarize(stub: AgentServiceStub) -> None:
    agent = create(stub)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Summarize(pb.SummarizeRequest(agent_id=agent.agent_id))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "last three messages" in str(caught.value.details())


def test_settings_and_blocks(stub: AgentServiceStub) -> None:
    agent = create(stub)
    agent.context_window = 4096
    request = pb.UpdateAgentRequest(agent=agent, update_mask=FieldMask(paths=["context_window"]))
    assert stub.UpdateAgent(request).agent.context_window == 4096
    edit = block_pb2.BlockEdit(label="human", value="A friend.")
    assert stub.SetBlock(pb.SetBlockRequest(agent_id=agent.agent_id, block=edit)).block.value == "A friend."
    stub.DeleteAgent(pb.DeleteAgentRequest(agent_id=agent.agent_id))
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetAgent(pb.GetAgentRequest(agent_id=agent.agent_id))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_what_a_proxy_repeats_gets_the_same_answer(agents: Agents, stub: AgentServiceStub) -> None:
    """Envoy and Istio repeat these if the first answer is lost, though they carry no request id."""
    agent_id, turn_id = create(stub).agent_id, uuid4().hex
    send(stub, agent_id, request_id=turn_id)
    heartbeat = Heartbeat(cron="0 9 * * *", heartbeat_id="morning")
    stub.SetHeartbeat(pb.SetHeartbeatRequest(agent_id=agent_id, heartbeat=heartbeat))
    stub.SetBlock(pb.SetBlockRequest(agent_id=agent_id, block=block_pb2.BlockEdit(label="notes", value="x")))
    with grpc.insecure_channel(agents.memory_address) as memory:
        request = source_pb.CreateSourceRequest(name="papers", request_id=uuid4().hex)
        source_id = SourceServiceStub(memory).CreateSource(request).source.source_id
    persona = profile_pb2.PROFILE_KIND_PERSONA
    limits = HeartbeatLimits(self_scheduled=True, max_turns_per_day=3)
    requests: dict[str, Any] = {
        "AttachSource": pb.AttachSourceRequest(agent_id=agent_id, source_id=source_id),
        "DetachSource": pb.DetachSourceRequest(agent_id=agent_id, source_id=source_id),
        "CancelTurn": pb.CancelTurnRequest(agent_id=agent_id, request_id=turn_id),
        "DeleteBlock": pb.DeleteBlockRequest(agent_id=agent_id, label="notes"),
        "CancelHeartbeat": pb.CancelHeartbeatRequest(agent_id=agent_id, heartbeat_id="morning"),
        "SetHeartbeatLimits": pb.SetHeartbeatLimitsRequest(agent_id=agent_id, limits=limits),
        "UnregisterTools": pb.UnregisterToolsRequest(agent_id=agent_id, address="127.0.0.1:9"),
        "PutProfile": pb.PutProfileRequest(kind=persona, name="twice", text="I am."),
    }
    assert set(requests) == repeatable_writes()
    for method, request in requests.items():
        first, second = getattr(stub, method)(request), getattr(stub, method)(request)
        if method == "PutProfile":
            second.profile.update_time.CopyFrom(first.profile.update_time)
        assert second == first, method
    stub.DeleteProfile(pb.DeleteProfileRequest(kind=persona, name="twice"))


def repeatable_writes() -> set[str]:
    """The writes among the calls of Agents that deploy/envoy repeats."""
    config = yaml.safe_load(envoy.SOURCE.read_text())
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    (route,) = (each for each in host["routes"] if each["name"] == "agent-repeatable")
    methods = pb.DESCRIPTOR.services_by_name["AgentService"].methods
    return {
        method.name
        for method in methods
        if re.fullmatch(route["match"]["safe_regex"]["regex"], f"/memgpt.agent.v1.AgentService/{method.name}")
        and method.GetOptions().Extensions[permission] != PERMISSION_READ
    }


def window(stub: AgentServiceStub, agent_id: str) -> list[str]:
    """The window's messages as text, those of the boot sequence left out."""
    context = stub.GetContext(pb.GetContextRequest(agent_id=agent_id))
    head = context.messages[0].message.text
    count = context.agent.message_count - context.agent.rewound_count
    if count < 10:
        assert f"recall memory holds {count} messages" in head or len(context.messages) == count + 1
    parts = context.tokens
    assert context.total_tokens == sum(
        (parts.instructions, parts.blocks, parts.functions, parts.summary, parts.messages)
    )
    return [
        json.loads(item.message.function_call.arguments).get("message", "")
        if item.message.HasField("function_call")
        else json.loads(item.message.text).get("message", "event")
        for item in context.messages[1:]
        if item.message.turn_id
    ]


def test_taking_back(agents: Agents, scripted_llm: Start) -> None:
    append = call("core_memory_append", name="human", content="Likes tea.", request_heartbeat=True)
    search = call("conversation_search", query="aubergine", request_heartbeat=True)
    llm = scripted_llm(
        [
            call("send_message", message="Fine."),
            append,
            call("send_message", message="An aubergine."),
            search,
            call("send_message", message="Nothing."),
            call("send_message", message="Better."),
        ]
    )
    with agents.start(**scripted(llm, "tools")) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        agent_id = create(stub).agent_id
        undo = pb.UndoRequest(agent_id=agent_id, request_id="undo-1")
        with pytest.raises(grpc.RpcError) as caught:
            stub.Undo(undo)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "nothing to undo" in str(caught.value.details())
        send(stub, agent_id, "How are you?")
        before = window(stub, agent_id)
        send(stub, agent_id, "I like tea, and an aubergine.", request_id="tea")
        assert stub.Undo(undo).removed_count == 6
        assert stub.Undo(undo).removed_count == 6
        assert window(stub, agent_id) == before
        context = stub.GetContext(pb.GetContextRequest(agent_id=agent_id))
        assert "Likes tea." in context.blocks[1].value, "what it wrote to its memory stays"
        resumed = stub.ResumeTurn(pb.ResumeTurnRequest(agent_id=agent_id, request_id="tea"))
        assert spoken(response.event for response in resumed) == ["An aubergine."], "a replay is as it was"

        events = send(stub, agent_id, "What about vegetables?")
        results = [e.function_result.text for e in events if e.HasField("function_result")]
        assert "aubergine" not in results[0], "what was undone is not found"
        assert "never have been said" in results[0]
        retry = pb.RetryRequest(agent_id=agent_id, request_id="retry-1", stream_deltas=True)
        live = [response.event for response in stub.Retry(retry)]
        assert spoken(live) == ["Better."]
        assert any(event.HasField("delta") for event in live)
        retry.after_sequence = 1
        again = [response.event for response in stub.Retry(retry) if response.event.sequence]
        assert [event for event in again if event.sequence] == [e for e in live if e.sequence > 1]
        resumed = stub.ResumeTurn(pb.ResumeTurnRequest(agent_id=agent_id, request_id="retry-1"))
        assert [r.event for r in resumed if r.event.sequence] == [e for e in live if e.sequence]
        assert window(stub, agent_id) == [
            *before,
            "What about vegetables?",
            "Better.",
            "The message was sent to the user.",
        ]

        thought = stub.Rethink(pb.RethinkRequest(agent_id=agent_id, text="I am sure.", request_id="think")).message
        assert (thought.text, thought.role) == ("I am sure.", ROLE_ASSISTANT)
        said = stub.Rewrite(pb.RewriteRequest(agent_id=agent_id, text="Best.", request_id="say")).message
        assert (said.text, json.loads(said.function_call.arguments)["message"]) == ("I am sure.", "Best.")
        assert said.replaces == thought.sequence
        assert stub.Rethink(pb.RethinkRequest(agent_id=agent_id, text="I am sure.", request_id="think")).message.text
        assert window(stub, agent_id)[-2] == "Best."
        assert stub.Undo(pb.UndoRequest(agent_id=agent_id, count=1)).removed_count == 2
        assert window(stub, agent_id)[-1] == "What about vegetables?"
        assert llm.unused == 0
        # The model is shown what the window holds, and nothing that was taken back.
        assert "aubergine" not in json.dumps(llm.requests[3].messages)


def test_the_agent_dies_in_a_retry(agents: Agents, scripted_llm: Start) -> None:
    llm = scripted_llm([call("send_message", message="First."), Hang(), call("send_message", message="Second.")])
    request = pb.RetryRequest(request_id=f"retry-{uuid4().hex}")
    with agents.start(**scripted(llm, "tools")) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        agent_id = request.agent_id = create(stub).agent_id
        send(stub, agent_id, "Hello!")
        stream = stub.Retry(request)
        llm.wait_for_requests(2)
        process.kill9()
        with pytest.raises(grpc.RpcError):
            list(stream)
    with agents.start(**scripted(llm, "tools")) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        assert window(stub, agent_id) == ["Hello!"]
        assert spoken(response.event for response in stub.Retry(request)) == ["Second."]
        assert window(stub, agent_id) == ["Hello!", "Second.", "The message was sent to the user."]
        agent = stub.GetAgent(pb.GetAgentRequest(agent_id=agent_id)).agent
        assert (agent.message_count, agent.rewound_count) == (9, 3)


def test_a_turn_that_hangs_on_its_model_can_be_taken_back(agents: Agents, scripted_llm: Start) -> None:
    llm = scripted_llm([Status(401), Status(401), call("send_message", message="At last.")])
    with agents.start(**scripted(llm, "tools")) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        agent_id = create(stub).agent_id
        with pytest.raises(grpc.RpcError):
            send(stub, agent_id, "Hello?", request_id="hangs-1")
        assert stub.Undo(pb.UndoRequest(agent_id=agent_id)).removed_count == 1
        with pytest.raises(grpc.RpcError):
            send(stub, agent_id, "Anybody?", request_id="hangs-2")
        events = [response.event for response in stub.Retry(pb.RetryRequest(agent_id=agent_id))]
        assert spoken(events) == ["At last."]
        turns = stub.ListTurns(pb.ListTurnsRequest(agent_id=agent_id)).turns
        states = {turn.request_id: turn.state for turn in turns}
        assert states["hangs-1"] == states["hangs-2"] == turn_pb2.TURN_STATE_CANCELLED


def test_a_message_that_a_filter_rejects_fails_its_own_turn_only(agents: Agents) -> None:
    def reply(request: Request) -> Completion | Status:
        if "pestilence" in json.dumps(request.json["messages"]):
            return Status(400, "Content Exists Risk")
        return call("send_message", message="It is Monday.")

    with (
        ScriptedLLM(reply) as llm,
        agents.start(**scripted(llm, "tools")) as process,
        grpc.insecure_channel(process.wait_ready()) as channel,
    ):
        stub = AgentServiceStub(channel)
        agent_id = create(stub).agent_id
        with pytest.raises(grpc.RpcError, match="content filter"):
            send(stub, agent_id, "Tell me about pestilence.")
        assert window(stub, agent_id)[2:] == [REJECTED["en"], SENT]
        assert spoken(send(stub, agent_id, "What day is it?")) == ["It is Monday."]
        # It is in recall memory, and may still be taken back.
        assert "Tell me about pestilence." in window(stub, agent_id)
        stub.Undo(pb.UndoRequest(agent_id=agent_id))
        stub.Undo(pb.UndoRequest(agent_id=agent_id))
        assert window(stub, agent_id) == []


def test_blocks_of_ones_own(agents: Agents, scripted_llm: Start) -> None:
    def append(block: str) -> Completion:
        return call("core_memory_append", name=block, content="New.", request_heartbeat=True)

    def done() -> Completion:
        return call("send_message", message="Done.")

    llm = scripted_llm([append("rules"), append("project"), done(), append("rules"), done()])
    with agents.start(**scripted(llm, "tools")) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        edits = [
            block_pb2.BlockEdit(label="rules", value="Be brief.", read_only=True),
            block_pb2.BlockEdit(label="project", value="", limit=20),
            block_pb2.BlockEdit(label="human", value="Ada."),
            block_pb2.BlockEdit(label="persona", read_only=True),
        ]
        agent_id = create(stub, blocks=edits, core_memory_limit=3000).agent_id

        def blocks() -> dict[str, block_pb2.Block]:
            context = stub.GetContext(pb.GetContextRequest(agent_id=agent_id))
            return {block.label: block for block in context.blocks}

        first = blocks()
        assert list(first) == ["persona", "human", "rules", "project"]
        assert [(b.limit, b.read_only) for b in first.values()] == [
            (3000, True),
            (3000, False),
            (3000, True),
            (20, False),
        ]
        assert (first["human"].value, first["rules"].value) == ("Ada.", "Be brief.")
        assert len(first["persona"].value) > 20, "the profile's text"
        events = send(stub, agent_id, "Add!", skip_verify=True)
        results = [(e.function_result.ok, e.function_result.text) for e in events if e.HasField("function_result")]
        assert results[0] == (False, 'Nothing was changed: the block "rules" is read-only.')
        assert results[1][0]
        shown = llm.requests[0].messages[0]["content"]
        assert '<rules characters="9/3000" read-only="true">\nBe brief.\n</rules>' in shown
        assert "except the blocks that are read-only" in shown
        assert (blocks()["rules"], blocks()["project"].value) == (first["rules"], "New.")
        edit = block_pb2.BlockEdit(label="rules", value="Be long.", etag=first["rules"].etag)
        stub.SetBlock(pb.SetBlockRequest(agent_id=agent_id, block=edit))
        with pytest.raises(grpc.RpcError) as caught:
            stub.SetBlock(pb.SetBlockRequest(agent_id=agent_id, block=edit))
        assert caught.value.code() is grpc.StatusCode.ABORTED
        edit = block_pb2.BlockEdit(label="rules", read_only=False, limit=50)
        block = stub.SetBlock(pb.SetBlockRequest(agent_id=agent_id, block=edit)).block
        assert (block.value, block.limit, block.read_only) == ("Be long.", 50, False)
        send(stub, agent_id, "Again!")
        assert blocks()["rules"].value == "Be long.\nNew."
        edit = block_pb2.BlockEdit(label="rules", limit=3)
        with pytest.raises(grpc.RpcError) as caught:
            stub.SetBlock(pb.SetBlockRequest(agent_id=agent_id, block=edit))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        for _ in range(2):
            stub.DeleteBlock(pb.DeleteBlockRequest(agent_id=agent_id, label="rules"))
        assert list(blocks()) == ["persona", "human", "project"]
        for bad in ([edits[0], edits[0]], [block_pb2.BlockEdit(label="x", value="xx", limit=1)]):
            with pytest.raises(grpc.RpcError) as caught:
                create(stub, blocks=bad)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_profiles(stub: AgentServiceStub) -> None:
    kind = profile_pb2.PROFILE_KIND_PERSONA
    names = [f"added_{number}" for number in range(5)]
    for name in names:
        stub.PutProfile(pb.PutProfileRequest(kind=kind, name=name, text=f"I am {name}."))
    for size in (1, 2, 3, 4, 50):
        found, token = [], ""
        while True:
            page = stub.ListProfiles(pb.ListProfilesRequest(kind=kind, page_size=size, page_token=token))
            assert len(page.profiles) <= size
            found += [(profile.name, profile.built_in) for profile in page.profiles]
            token = page.next_page_token
            if not token:
                break
        assert found == [(n, True) for n in ("anna_pa", "memgpt_doc", "sam_pov", "tutor")] + [(n, False) for n in names]
    agent = create(stub, persona="added_1")
    context = stub.GetContext(pb.GetContextRequest(agent_id=agent.agent_id))
    assert context.blocks[0].value == "I am added_1."
    stub.DeleteProfile(pb.DeleteProfileRequest(kind=kind, name="added_1"))


def test_the_model_says_what_it_is(stub: AgentServiceStub) -> None:
    model = stub.GetModel(pb.GetModelRequest())
    assert (model.model, model.mode, model.backend) == ("offline", "offline", "milvus-lite")
    assert model.embedding_model.startswith("wordllama")


KIND = profile_pb2.PROFILE_KIND_PERSONA
NOBODY = "agent_00000000000000000000000000"


@pytest.mark.parametrize(
    ("rpc", "request_", "code", "words"),
    [
        ("SendMessage", pb.SendMessageRequest(agent_id=NOBODY, text="Hi"), "NOT_FOUND", NOBODY),
        ("SendMessage", pb.SendMessageRequest(agent_id=NOBODY, text="  "), "INVALID_ARGUMENT", "blank"),
        ("SendMessage", pb.SendMessageRequest(agent_id=NOBODY), "INVALID_ARGUMENT", "input"),
        ("ResumeTurn", pb.ResumeTurnRequest(agent_id=NOBODY, request_id="x"), "NOT_FOUND", NOBODY),
        ("CancelTurn", pb.CancelTurnRequest(agent_id=NOBODY, request_id="x"), "NOT_FOUND", NOBODY),
        ("GetContext", pb.GetContextRequest(agent_id=NOBODY), "NOT_FOUND", NOBODY),
        ("CreateAgent", pb.CreateAgentRequest(persona="nobody"), "NOT_FOUND", "memgpt_doc"),
        ("CreateAgent", pb.CreateAgentRequest(time_zone="Mars"), "INVALID_ARGUMENT", "Europe/Berlin"),
        ("CreateAgent", pb.CreateAgentRequest(context_window=100), "INVALID_ARGUMENT", "1,024"),
        ("ListAgents", pb.ListAgentsRequest(page_size=-1), "INVALID_ARGUMENT", "page_size"),
        ("ListAgents", pb.ListAgentsRequest(page_token="forged"), "INVALID_ARGUMENT", "token"),
        ("ListProfiles", pb.ListProfilesRequest(kind=KIND, page_token="builtin-2-1"), "INVALID_ARGUMENT", "page_token"),
        ("ListProfiles", pb.ListProfilesRequest(kind=KIND, page_token="added-x"), "INVALID_ARGUMENT", "token"),
        ("PutProfile", pb.PutProfileRequest(kind=KIND, name="sam_pov", text="x"), "FAILED_PRECONDITION", "ships"),
        ("DeleteProfile", pb.DeleteProfileRequest(kind=KIND, name="absent"), "NOT_FOUND", "absent"),
        (
            "RegisterTools",
            pb.RegisterToolsRequest(agent_id=NOBODY, address="x:1"),
            "PERMISSION_DENIED",
            "tool_addresses",
        ),
        ("RegisterTools", pb.RegisterToolsRequest(agent_id=NOBODY, address="x"), "INVALID_ARGUMENT", "host:port"),
        ("ListTools", pb.ListToolsRequest(agent_id=NOBODY), "NOT_FOUND", NOBODY),
        ("Undo", pb.UndoRequest(agent_id=NOBODY), "NOT_FOUND", NOBODY),
        ("Undo", pb.UndoRequest(agent_id=NOBODY, count=-1), "INVALID_ARGUMENT", "count"),
        ("Retry", pb.RetryRequest(agent_id=NOBODY), "NOT_FOUND", NOBODY),
        ("Rethink", pb.RethinkRequest(agent_id=NOBODY, text=" "), "INVALID_ARGUMENT", "blank"),
        ("Rewrite", pb.RewriteRequest(agent_id=NOBODY), "INVALID_ARGUMENT", "text"),
        ("DeleteBlock", pb.DeleteBlockRequest(agent_id=NOBODY, label="x"), "NOT_FOUND", NOBODY),
    ],
)
def test_bad_input(stub: AgentServiceStub, rpc: str, request_: Any, code: str, words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(getattr(stub, rpc)(request_))
    assert caught.value.code() is grpc.StatusCode[code], caught.value.details()
    assert words in str(caught.value.details())
    assert detail(caught.value, ErrorInfo).domain == "memgpt"


def test_an_import_that_is_not_valid_is_refused_at_once(stub: AgentServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ImportAgent(iter([pb.ImportAgentRequest()]), timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, caught.value.details()
    assert "piece" in str(caught.value.details())


def test_a_request_id_is_one_request(stub: AgentServiceStub) -> None:
    agent = create(stub)
    send(stub, agent.agent_id, "One", request_id="once")
    with pytest.raises(grpc.RpcError) as caught:
        send(stub, agent.agent_id, "Two", request_id="once")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ResumeTurn(pb.ResumeTurnRequest(agent_id=agent.agent_id, request_id="never")))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def scripted(llm: ScriptedLLM, mode: str) -> dict[str, str]:
    return {
        "MEMGPT_AGENT_MODEL": "scripted",
        "MEMGPT_AGENT_BASE_URL": llm.base_url,
        "MEMGPT_AGENT_API_KEY": "sk-very-secret",
        "MEMGPT_AGENT_MODE": mode,
        "MEMGPT_AGENT_MODEL_TIMEOUT": "5",
    }


@pytest.mark.parametrize("mode", ["tools", "json_schema"])
def test_a_model_behind_an_endpoint(agents: Agents, scripted_llm: Start, mode: str) -> None:
    make = call if mode == "tools" else choose
    search = make("archival_memory_search", inner_thoughts="Look.", query="tea", page=0, request_heartbeat=True)
    llm = scripted_llm([search, make("send_message", inner_thoughts="Say.", message="Nothing about tea.")])
    with agents.start(**scripted(llm, mode)) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        events = send(stub, create(stub).agent_id, "What about tea?")
        assert stub.GetModel(pb.GetModelRequest()).mode == mode
    assert spoken(events) == ["Nothing about tea."]
    assert [e.thought.text for e in events if e.HasField("thought")] == ["Look.", "Say."]
    assert events[-1].done.usage.prompt_tokens == 200


def test_the_offline_model_beside_an_endpoint(agents: Agents, scripted_llm: Start) -> None:
    settings = {**scripted(scripted_llm([]), "tools"), "MEMGPT_AGENT_MODEL": "offline"}
    with agents.start(**settings) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        model = AgentServiceStub(channel).GetModel(pb.GetModelRequest())
    assert (model.model, model.mode) == ("offline", "offline")


def test_an_endpoint_that_fails(agents: Agents, scripted_llm: Start) -> None:
    llm = scripted_llm(
        [
            Status(429, retry_after=70),
            Status(401),
            *[Status(500)] * 4,  # the last two to a prompt about nothing
            call("send_message", message="At last."),
            Completion(""),
            Completion(""),
        ]
    )
    settings = {**scripted(llm, "tools"), "MEMGPT_AGENT_MODEL_RETRIES": "1"}
    with agents.start(**settings) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        agent_id = create(stub).agent_id

        def failure(request_id: str) -> grpc.RpcError:
            with pytest.raises(grpc.RpcError) as caught:
                send(stub, agent_id, "Hi", request_id=request_id)
            assert "sk-very-secret" not in str(caught.value.details())
            return caught.value

        limited = failure("r1")
        assert limited.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert detail(limited, RetryInfo).retry_delay.seconds == 70
        refused = failure("r1")
        assert refused.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "MEMGPT_AGENT_API_KEY" in str(refused.details())
        assert failure("r1").code() is grpc.StatusCode.UNAVAILABLE
        # The same request goes on: its message was stored once.
        events = send(stub, agent_id, "Hi", request_id="r1")
        assert spoken(events) == ["At last."]
        nonsense = failure("r2")
        assert nonsense.code() is grpc.StatusCode.FAILED_PRECONDITION
        # It failed for good, and says so again.
        assert failure("r2").code() is grpc.StatusCode.FAILED_PRECONDITION
        request = pb.SendMessageRequest(agent_id=agent_id, text="Hi", request_id="r2")
        seen: list[TurnEvent] = []
        with pytest.raises(grpc.RpcError):
            seen.extend(response.event for response in stub.SendMessage(request))
        assert spoken(seen) == ["I could not put an answer together this time. Please ask me again."]
        assert stub.GetAgent(pb.GetAgentRequest(agent_id=agent_id)).agent.message_count == 9
        turns = stub.ListTurns(pb.ListTurnsRequest(agent_id=agent_id)).turns
        assert [t.state for t in turns] == [turn_pb2.TURN_STATE_FAILED, turn_pb2.TURN_STATE_COMPLETED]
    assert "sk-very-secret" not in process.log.read_text()


def test_a_turn_goes_on_when_its_client_goes_away(agents: Agents, scripted_llm: Start) -> None:
    search = call("archival_memory_search", query="tea", request_heartbeat=True)
    llm = scripted_llm([search, call("send_message", message="Finished alone.")])
    with agents.start(**scripted(llm, "tools")) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        agent_id = create(stub).agent_id
        stream = stub.SendMessage(pb.SendMessageRequest(agent_id=agent_id, text="Tea?", request_id="alone"))
        next(iter(stream))
        stream.cancel()
        resume = pb.ResumeTurnRequest(agent_id=agent_id, request_id="alone")
        events = [response.event for response in stub.ResumeTurn(resume)]
    assert spoken(events) == ["Finished alone."]
    assert len(llm.requests) == 2


def test_cancelling(agents: Agents, scripted_llm: Start) -> None:
    llm = scripted_llm([Completion("I think", hang_after=1)])
    with agents.start(**scripted(llm, "tools")) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        agent_id = create(stub).agent_id
        request = pb.SendMessageRequest(agent_id=agent_id, text="Hi", request_id="c1", stream_deltas=True)
        stream = stub.SendMessage(request)
        llm.wait_for_requests(1)
        stub.CancelTurn(pb.CancelTurnRequest(agent_id=agent_id, request_id="c1"))
        events = [response.event for response in stream]
        assert events[-1].done.state == turn_pb2.TURN_STATE_CANCELLED
        llm.add(call("send_message", message="Next."))
        assert spoken(send(stub, agent_id, "And now?")) == ["Next."]


def test_the_loop_makes_do_with_a_small_window(agents: Agents, scripted_llm: Start) -> None:
    def answer(request: Any) -> Completion:
        if "tools" not in request.json:
            return say("I was told many long stories.")
        return call("send_message", message="Tell me more!", inner_thoughts="Nice.")

    llm = scripted_llm(answer)
    settings = scripted(llm, "tools") | {"MEMGPT_AGENT_CONTEXT_WINDOW": "4096", "MEMGPT_AGENT_MAX_ANSWER_TOKENS": "256"}
    with agents.start(**settings) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        agent_id = create(stub, preset="memgpt_extras").agent_id
        notices = []
        for number in range(12):
            events = send(stub, agent_id, f"Story {number}: " + "once upon a time there was a fox " * 20)
            notices += [event.notice.text for event in events if event.HasField("notice")]
            assert spoken(events)
        context = stub.GetContext(pb.GetContextRequest(agent_id=agent_id))
    assert any("told to save" in notice for notice in notices)
    assert any("left the context window" in notice for notice in notices)
    assert context.summary.startswith("I was told many long stories.")
    assert context.total_tokens < 4096
    assert context.agent.message_count > 36


def test_memory_down(agents: Agents) -> None:
    with ServiceProcess("memgpt_agent", agents.home, MEMGPT_AGENT_MEMORY_ADDRESS="127.0.0.1:1") as process:
        with grpc.insecure_channel(process.wait_bound()) as channel:
            stub = AgentServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListAgents(pb.ListAgentsRequest(), wait_for_ready=True, timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "agent.memory_address" in str(caught.value.details())
