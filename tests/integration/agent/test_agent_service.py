"""The Agent over the wire, with a real Memory behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.memory.v1 import agent_pb2, block_pb2, profile_pb2, turn_pb2
from memgpt.memory.v1.message_pb2 import ROLE_SYSTEM, ROLE_USER

from tests.integration.agent.conftest import Agents
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Completion, ScriptedLLM, Status, call, choose, say

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
    assert context.total_tokens == context.function_tokens + sum(m.tokens for m in context.messages)
    assert context.context_window == 32768


def test_creating_is_repeatable(stub: AgentServiceStub) -> None:
    first = create(stub, request_id="create-1")
    assert create(stub, request_id="create-1") == first
    named = create(stub, request_id="create-2", name="Named")
    assert create(stub, request_id="create-2", name="Named").agent_id == named.agent_id
    with pytest.raises(grpc.RpcError) as caught:
        create(stub, request_id="create-2", name="Other")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(caught.value, ErrorInfo).reason == "REQUEST_ID_REUSED"


def test_a_turn_is_streamed_and_replayed(stub: AgentServiceStub) -> None:
    agent = create(stub)
    live = send(stub, agent.agent_id, "Hi there!", request_id="turn-1", stream_deltas=True)
    durable = [event for event in live if event.sequence]
    assert [event.sequence for event in durable] == list(range(1, len(durable) + 1))
    assert durable[-1].done.state == turn_pb2.TURN_STATE_COMPLETED
    deltas = "".join(e.delta.text for e in live if e.HasField("delta") and e.delta.kind == 2)
    assert [deltas] == spoken(live)
    assert send(stub, agent.agent_id, "Hi there!", request_id="turn-1") == durable
    resume = pb.ResumeTurnRequest(agent_id=agent.agent_id, request_id="turn-1", after_sequence=3)
    assert [r.event for r in stub.ResumeTurn(resume)] == durable[3:]
    turns = stub.ListTurns(pb.ListTurnsRequest(agent_id=agent.agent_id)).turns
    assert [(t.request_id, t.state) for t in turns] == [("turn-1", turn_pb2.TURN_STATE_COMPLETED)]


def test_the_request_id_is_sent_back(stub: AgentServiceStub) -> None:
    agent = create(stub)
    stream = stub.SendMessage(pb.SendMessageRequest(agent_id=agent.agent_id, text="Hi"))
    metadata = dict(stream.initial_metadata())
    events = [response.event for response in stream]
    replay = send(stub, agent.agent_id, "Hi", request_id=metadata["x-request-id"])
    assert replay == [event for event in events if event.sequence]


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
        ("ListAgents", pb.ListAgentsRequest(page_size=-1), "INVALID_ARGUMENT", "negative"),
        ("ListAgents", pb.ListAgentsRequest(page_token="forged"), "INVALID_ARGUMENT", "token"),
        ("ListProfiles", pb.ListProfilesRequest(kind=KIND, page_token="builtin-2-1"), "INVALID_ARGUMENT", "page_token"),
        ("ListProfiles", pb.ListProfilesRequest(kind=KIND, page_token="added-x"), "INVALID_ARGUMENT", "token"),
        ("PutProfile", pb.PutProfileRequest(kind=KIND, name="sam_pov", text="x"), "FAILED_PRECONDITION", "ships"),
        ("DeleteProfile", pb.DeleteProfileRequest(kind=KIND, name="absent"), "NOT_FOUND", "absent"),
        ("Undo", pb.UndoRequest(agent_id=NOBODY), "UNIMPLEMENTED", "Undo"),
        ("Retry", pb.RetryRequest(agent_id=NOBODY), "UNIMPLEMENTED", "Retry"),
        (
            "RegisterTools",
            pb.RegisterToolsRequest(agent_id=NOBODY, address="x:1"),
            "PERMISSION_DENIED",
            "tool_addresses",
        ),
        ("RegisterTools", pb.RegisterToolsRequest(agent_id=NOBODY, address="x"), "INVALID_ARGUMENT", "host:port"),
        ("ListTools", pb.ListToolsRequest(agent_id=NOBODY), "NOT_FOUND", NOBODY),
    ],
)
def test_bad_input(stub: AgentServiceStub, rpc: str, request_: Any, code: str, words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(getattr(stub, rpc)(request_))
    assert caught.value.code() is grpc.StatusCode[code], caught.value.details()
    assert words in str(caught.value.details())
    assert detail(caught.value, ErrorInfo).domain == "memgpt"


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


def test_an_endpoint_that_fails(agents: Agents, scripted_llm: Start) -> None:
    llm = scripted_llm(
        [
            Status(429, retry_after=7),
            Status(401),
            Status(500),
            call("send_message", message="At last."),
            Completion(""),
            Completion(""),
        ]
    )
    with agents.start(**scripted(llm, "tools")) as process, grpc.insecure_channel(process.wait_ready()) as channel:
        stub = AgentServiceStub(channel)
        agent_id = create(stub).agent_id

        def failure(request_id: str) -> grpc.RpcError:
            with pytest.raises(grpc.RpcError) as caught:
                send(stub, agent_id, "Hi", request_id=request_id)
            assert "sk-very-secret" not in str(caught.value.details())
            return caught.value

        limited = failure("r1")
        assert limited.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert detail(limited, RetryInfo).retry_delay.seconds == 7
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
        assert stub.GetAgent(pb.GetAgentRequest(agent_id=agent_id)).agent.message_count == 7
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
                stub.ListAgents(pb.ListAgentsRequest(), wait_for_ready=True, timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "agent.memory_address" in str(caught.value.details())
