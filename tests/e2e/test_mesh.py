"""The services behind a proxy that ends idle streams, like those of clouds and meshes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.loader.v1 import load_pb2, loader_service_pb2
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1.agent_state_service_pb2_grpc import AgentStateServiceStub
from memgpt.memory.v1.message_pb2 import ROLE_USER, NewMessage

from tests.support.envoy import Envoy
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Reply, Request, ScriptedLLM, call, say
from tests.support.waiting import wait_until

Llm = Callable[..., ScriptedLLM]


@pytest.mark.parametrize("keep_alive", ["0.3", "300"])
def test_a_turn_that_waits_outlives_the_proxy_before_memory(tmp_path: Path, scripted_llm: Llm, keep_alive: str) -> None:
    """With heartbeats its stream is not cut; without them it is reopened."""
    gate = threading.Event()

    def answer(_request: object) -> object:
        assert gate.wait(60)
        return call("send_message", message="Done.")

    llm = scripted_llm(answer)
    settings = {
        "MEMGPT_SERVER_KEEP_ALIVE_SECONDS": keep_alive,
        "MEMGPT_AGENT_MODEL": "scripted",
        "MEMGPT_AGENT_BASE_URL": llm.base_url,
        "MEMGPT_AGENT_MODE": "tools",
        "MEMGPT_AGENT_CONTEXT_WINDOW": "32768",
        "MEMGPT_AGENT_KEEP_ALIVE_SECONDS": "0.5",
    }
    with ServiceProcess("memgpt_memory", tmp_path, **settings) as memory:
        address = memory.wait_ready()
        with (
            Envoy(tmp_path, address, idle="1s") as envoy,
            ServiceProcess("memgpt_agent", tmp_path, MEMGPT_AGENT_MEMORY_ADDRESS=envoy.address, **settings) as agent,
            grpc.insecure_channel(agent.wait_ready()) as channel,
        ):
            stub = AgentServiceStub(channel)
            agent_id = stub.CreateAgent(pb.CreateAgentRequest()).agent.agent_id
            first = stub.SendMessage(pb.SendMessageRequest(agent_id=agent_id, text="One"))
            assert next(iter(first)).event.HasField("started")
            llm.wait_for_requests(1)
            silent = 0
            said: list[str] = []
            second = stub.SendMessage(pb.SendMessageRequest(agent_id=agent_id, text="Two"))
            for response in second:
                silent += response.event.HasField("keep_alive")
                if silent == 7:  # 3.5 s
                    gate.set()
                if response.event.HasField("message"):
                    said.append(response.event.message.text)
            assert said == ["Done."]
            assert [r.event.message.text for r in first if r.event.HasField("message")] == ["Done."]
            assert "cannot be reached" not in agent.log.read_text()


def test_memory_shows_that_it_lives_while_a_turn_waits_and_is_followed(tmp_path: Path) -> None:
    with (
        ServiceProcess("memgpt_memory", tmp_path, MEMGPT_SERVER_KEEP_ALIVE_SECONDS="0.1") as memory,
        grpc.insecure_channel(memory.wait_ready()) as channel,
    ):
        stub = AgentStateServiceStub(channel)
        agent_id = stub.CreateAgent(state_pb.CreateAgentRequest(name="Ada")).agent.agent_id
        hello = NewMessage(role=ROLE_USER, text="Hello")
        running, waiting = (
            stub.BeginTurn(state_pb.BeginTurnRequest(agent_id=agent_id, request_id=request_id, input=[hello]))
            for request_id in ("running", "waiting")
        )
        assert next(running).HasField("granted")
        followed = stub.ReadTurn(state_pb.ReadTurnRequest(agent_id=agent_id, request_id="running"))
        for stream in (waiting, followed):
            assert sum(next(stream).HasField("keep_alive") for _ in range(4)) >= 3, "after its first message"
            stream.cancel()
        running.cancel()


def test_a_load_is_watched_through_a_proxy(tmp_path: Path) -> None:
    settings = {"MEMGPT_SERVER_KEEP_ALIVE_SECONDS": "0.3"}
    data = b"A note."
    with ServiceProcess("memgpt_memory", tmp_path, **settings) as memory:
        address = memory.wait_ready()
        with (
            ServiceProcess("memgpt_loader", tmp_path, MEMGPT_LOADER_MEMORY_ADDRESS=address, **settings) as loader,
            Envoy(tmp_path, loader.wait_ready(), idle="3s") as envoy,
            grpc.insecure_channel(envoy.address) as channel,
        ):
            stub = LoaderServiceStub(channel)
            manifest = load_pb2.FileManifest(name="a.txt", size=len(data), sha256=hashlib.sha256(data).hexdigest())
            created = stub.CreateLoad(loader_service_pb2.CreateLoadRequest(source_name="notes", files=[manifest])).load
            header = loader_service_pb2.UploadFileRequest.Header(load_id=created.load_id, name="a.txt")
            upload = [
                loader_service_pb2.UploadFileRequest(header=header),
                loader_service_pb2.UploadFileRequest(chunk=data),
            ]
            silent = 0
            events = stub.WatchLoad(loader_service_pb2.WatchLoadRequest(load_id=created.load_id))
            for event in events:
                silent += event.HasField("keep_alive")
                if silent == 15 and event.HasField("keep_alive"):  # 4.5 s
                    stub.UploadFile(iter(upload))
    assert event.ended.state == load_pb2.LOAD_STATE_COMPLETED
    assert event.ended.passage_count == 1


def test_a_summary_outlives_the_proxy_that_gives_up(tmp_path: Path, scripted_llm: Llm) -> None:
    """The same request again joins the summary instead of asking the model again, and gets its result."""
    gate, summaries = threading.Event(), []

    def answer(request: Request) -> Reply:
        if request.functions:
            return call("send_message", message="Words. " * 200)
        summaries.append(request)
        assert gate.wait(60)
        return say("They spoke.")

    llm = scripted_llm(answer)
    settings = {
        "MEMGPT_AGENT_MODEL": "scripted",
        "MEMGPT_AGENT_BASE_URL": llm.base_url,
        "MEMGPT_AGENT_MODE": "tools",
        "MEMGPT_AGENT_CONTEXT_WINDOW": "32768",
    }
    with ServiceProcess("memgpt_memory", tmp_path) as memory:
        address = memory.wait_ready()
        with (
            ServiceProcess("memgpt_agent", tmp_path, MEMGPT_AGENT_MEMORY_ADDRESS=address, **settings) as agent,
            Envoy(tmp_path, agent.wait_ready(), timeout="1s") as envoy,
            grpc.insecure_channel(agent.wait_ready()) as direct,
            grpc.insecure_channel(envoy.address) as channel,
        ):
            agent_id = AgentServiceStub(direct).CreateAgent(pb.CreateAgentRequest()).agent.agent_id
            for _ in range(6):
                list(
                    AgentServiceStub(direct).SendMessage(pb.SendMessageRequest(agent_id=agent_id, text="Word. " * 200))
                )
            request = pb.SummarizeRequest(agent_id=agent_id, request_id="once")
            for _ in range(3):
                with pytest.raises(grpc.RpcError) as caught:
                    AgentServiceStub(channel).Summarize(request, timeout=60)
                assert "timeout" in str(caught.value.details())
            gate.set()
            response = wait_until(
                lambda: AgentServiceStub(channel).Summarize(request, timeout=60), ignore=grpc.RpcError
            )
            assert response.evicted_count > 0
            assert response.summary == "They spoke."
            assert AgentServiceStub(channel).Summarize(request, timeout=60) == response, "the result is remembered"
    assert len(summaries) == 1, "the model was asked once"


@pytest.mark.parametrize("method", ["Undo", "Rewrite"])
def test_a_call_that_waits_for_a_turn_gets_through_the_proxy_that_gives_up(
    tmp_path: Path, scripted_llm: Llm, method: str
) -> None:
    """The same request again takes effect once, when the turn has ended."""
    gate = threading.Event()
    gate.set()

    def answer(_request: Request) -> Reply:
        assert gate.wait(60)
        return call("send_message", thought="Hm.", message="Done.")

    llm = scripted_llm(answer)
    settings = {
        "MEMGPT_AGENT_MODEL": "scripted",
        "MEMGPT_AGENT_BASE_URL": llm.base_url,
        "MEMGPT_AGENT_MODE": "tools",
        "MEMGPT_AGENT_CONTEXT_WINDOW": "32768",
    }
    with ServiceProcess("memgpt_memory", tmp_path) as memory:
        address = memory.wait_ready()
        with (
            ServiceProcess("memgpt_agent", tmp_path, MEMGPT_AGENT_MEMORY_ADDRESS=address, **settings) as agent,
            Envoy(tmp_path, agent.wait_ready(), timeout="1s") as envoy,
            grpc.insecure_channel(agent.wait_ready()) as direct,
            grpc.insecure_channel(envoy.address) as channel,
        ):
            stub = AgentServiceStub(direct)
            agent_id = stub.CreateAgent(pb.CreateAgentRequest()).agent.agent_id
            before = stub.GetContext(pb.GetContextRequest(agent_id=agent_id)).agent.message_count
            list(stub.SendMessage(pb.SendMessageRequest(agent_id=agent_id, text="One")))
            turn = stub.GetContext(pb.GetContextRequest(agent_id=agent_id)).agent.message_count - before
            gate.clear()
            second = stub.SendMessage(pb.SendMessageRequest(agent_id=agent_id, text="Two"))
            llm.wait_for_requests(2)
            text = {} if method == "Undo" else {"text": "Better."}
            request = getattr(pb, f"{method}Request")(agent_id=agent_id, request_id="once", **text)
            for _ in range(2):
                with pytest.raises(grpc.RpcError) as caught:
                    getattr(AgentServiceStub(channel), method)(request, timeout=60)
                assert "timeout" in str(caught.value.details())
            gate.set()
            assert [each.event.message.text for each in second if each.event.HasField("message")] == ["Done."]
            response = wait_until(
                lambda: getattr(AgentServiceStub(channel), method)(request, timeout=60), ignore=grpc.RpcError
            )
            assert getattr(AgentServiceStub(channel), method)(request, timeout=60) == response, "it is done once"
            if method == "Undo":
                again = stub.Undo(pb.UndoRequest(agent_id=agent_id))
                assert response.removed_count == again.removed_count == turn > 0, "the first turn was still there"
            else:
                assert "Better." in str(response.message)
