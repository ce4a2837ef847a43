"""Remote functions: real ToolService servers, called by a real Agent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.memory.v1 import turn_pb2
from memgpt.tool.v1 import tool_service_pb2 as tool_pb

from tests.integration.agent.conftest import Agents
from tests.integration.agent.test_agent_service import create, detail, scripted, send, spoken
from tests.support.certificates import Authority
from tests.support.processes import service_environment
from tests.support.scripted_llm import Reply, Request, ScriptedLLM, call, choose
from tests.support.scripted_tool import RefusalError, ScriptedTool, result

Start = Callable[..., ScriptedLLM]

_EXAMPLES = Path(__file__).parents[3] / "examples" / "tools"


@contextmanager
def agent_service(agents: Agents, llm: ScriptedLLM, mode: str = "tools", **settings: str) -> Iterator[AgentServiceStub]:
    """An Agent that is allowed to call tools on this machine."""
    allowed = {"MEMGPT_AGENT_TOOL_ADDRESSES": "127.0.0.1:*", **settings}
    with (
        agents.start(**scripted(llm, mode), **allowed) as process,
        grpc.insecure_channel(process.wait_ready()) as channel,
    ):
        yield AgentServiceStub(channel)


@contextmanager
def example(home: Path, *command: str | Path) -> Iterator[str]:
    """Run an example's server as a process, and yield its address."""
    environment = service_environment(home, {})
    process = subprocess.Popen([*command, "127.0.0.1:0"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        listening = re.fullmatch(r"listening on port (\d+)\n", process.stdout.readline())
        assert listening is not None
        yield f"127.0.0.1:{listening[1]}"
    finally:
        process.kill()
        process.communicate()


def register(stub: AgentServiceStub, agent_id: str, address: str) -> list[str]:
    """Names of the functions that are there now."""
    answer = stub.RegisterTools(pb.RegisterToolsRequest(agent_id=agent_id, address=address))
    return [function.name for function in answer.server.functions]


def results(events: list[TurnEvent]) -> list[tuple[bool, str]]:
    return [(e.function_result.ok, e.function_result.text) for e in events if e.HasField("function_result")]


def roll_then_tell(request: Request) -> Reply:
    """Roll dice for the user, in either mode, and report the result."""
    made: Callable[..., Reply] = call if request.functions else choose
    rolled = re.search(r'"message": "(\[[\d, ]+\])"', "\n".join(str(m["content"]) for m in request.messages))
    if rolled is None:
        return made("roll_dice", inner_thoughts="I roll.", count=2, request_heartbeat=True)
    return made("send_message", inner_thoughts="I tell.", message=f"{len(json.loads(rolled[1]))} dice")


@pytest.mark.parametrize("mode", ["tools", "json_schema"])
def test_the_python_example(agents: Agents, scripted_llm: Start, mode: str) -> None:
    llm = scripted_llm(roll_then_tell)
    with (
        agent_service(agents, llm, mode) as stub,
        example(agents.home, sys.executable, _EXAMPLES / "python" / "server.py") as address,
    ):
        agent_id = create(stub).agent_id
        assert register(stub, agent_id, address) == ["roll_dice"]
        listed = stub.ListTools(pb.ListToolsRequest(agent_id=agent_id)).servers
        assert [(server.address, len(server.functions)) for server in listed] == [(address, 1)]
        before = stub.GetContext(pb.GetContextRequest(agent_id=agent_id)).tokens.functions
        events = send(stub, agent_id, "Roll two dice.", skip_verify=True, request_id=f"roll-{mode}")
        assert spoken(events) == ["2 dice"]
        resumed = stub.ResumeTurn(pb.ResumeTurnRequest(agent_id=agent_id, request_id=f"roll-{mode}"))
        replay = [response.event for response in resumed if response.event.sequence]
        assert replay == [event for event in events if event.sequence]
        offered = json.dumps(llm.requests[0].json.get("tools") or llm.requests[0].json["response_format"])
        assert '"roll_dice"' in offered
        assert offered.count('"request_heartbeat"') >= 2

        for _ in range(2):
            stub.UnregisterTools(pb.UnregisterToolsRequest(agent_id=agent_id, address=address))
        assert not stub.ListTools(pb.ListToolsRequest(agent_id=agent_id)).servers
        assert stub.GetContext(pb.GetContextRequest(agent_id=agent_id)).tokens.functions < before


def test_the_node_example(agents: Agents, scripted_llm: Start) -> None:
    node, folder = shutil.which("node"), _EXAMPLES / "node"
    if node is None or not (folder / "node_modules").exists():
        pytest.skip(f"run `npm install` in {folder}")
    with (
        agent_service(agents, scripted_llm(roll_then_tell)) as stub,
        example(agents.home, node, folder / "server.mjs") as at,
    ):
        agent_id = create(stub).agent_id
        assert register(stub, agent_id, at) == ["roll_dice"]
        assert spoken(send(stub, agent_id, "Roll two dice.", skip_verify=True)) == ["2 dice"]


def test_what_cannot_be_registered(agents: Agents, scripted_llm: Start) -> None:
    def refused(address: str, code: grpc.StatusCode, reason: str, words: str) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            register(stub, agent_id, address)
        assert caught.value.code() is code, caught.value.details()
        assert detail(caught.value, ErrorInfo).reason == reason
        assert words in str(caught.value.details())

    denied, unusable = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION
    with (
        agent_service(agents, scripted_llm([])) as stub,
        ScriptedTool({"ping": result("pong")}) as tool,
        ScriptedTool({"ping": result("pong")}) as other,
    ):
        agent_id = create(stub).agent_id
        refused("localhost:1", denied, "NOT_PERMITTED", "agent.tool_addresses")
        refused("127.0.0.1.evil.net:1", denied, "NOT_PERMITTED", "agent.tool_addresses")
        refused("unix:/tmp/x", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "host:port")
        refused("127.0.0.1:1", grpc.StatusCode.UNAVAILABLE, "TOOL_UNAVAILABLE", "no response from 127.0.0.1:1")
        refused(agents.memory_address, unusable, "TOOL_UNUSABLE", "does not serve memgpt.tool.v1.ToolService")
        for tools, words in (
            ([], "1 to 100 functions"),
            ([tool_pb.Tool(name="send_message", description="x")], "built-in"),
            ([tool_pb.Tool(name="a", description="x")] * 2, 'two functions called "a"'),
            ([tool_pb.Tool(name="a", description="x", parameters='{"$ref": "http://x/"}')], "a: the reference"),
        ):
            tool.tools, kept = tools, tool.tools
            refused(tool.address, unusable, "TOOL_UNUSABLE", words)
            tool.tools = kept
        assert register(stub, agent_id, tool.address) == ["ping"]
        assert register(stub, agent_id, tool.address) == ["ping"]
        refused(other.address, grpc.StatusCode.ALREADY_EXISTS, "NAME_TAKEN", f"from {tool.address}")
        assert [s.address for s in stub.ListTools(pb.ListToolsRequest(agent_id=agent_id)).servers] == [tool.address]
        with pytest.raises(grpc.RpcError) as caught:
            register(stub, "agent_00000000000000000000000000", tool.address)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_what_goes_wrong_in_a_call_is_told_to_the_model(agents: Agents, scripted_llm: Start) -> None:
    """Each failure, one after the other, in one turn; the turn goes on after each of them."""
    tries: list[str] = []
    hang = threading.Event()

    def broken(_: tool_pb.CallToolRequest) -> tool_pb.CallToolResponse:
        raise RuntimeError("a secret of the tool")

    def refuses(_: tool_pb.CallToolRequest) -> tool_pb.CallToolResponse:
        raise RefusalError(grpc.StatusCode.INVALID_ARGUMENT, "no such city")

    def flaky(request: tool_pb.CallToolRequest) -> tool_pb.CallToolResponse:
        tries.append(request.idempotency_key)
        if len(tries) == 1:
            raise RefusalError(grpc.StatusCode.UNAVAILABLE, "restarting")
        return tool_pb.CallToolResponse(result="there again")

    def hangs(_: tool_pb.CallToolRequest) -> tool_pb.CallToolResponse:
        hang.wait(60)
        return tool_pb.CallToolResponse(result="late")

    functions = {
        "broken": broken,
        "refuses": refuses,
        "fails": lambda _: tool_pb.CallToolResponse(error="The lamp is off already."),
        "flaky": flaky,
        "nothing": lambda _: tool_pb.CallToolResponse(),
        "huge": result("x" * 3_000_000),
        "long": result("y" * 5_000),
        "hangs": hangs,
    }
    llm = scripted_llm(
        [*(call(name, request_heartbeat=True) for name in functions), call("send_message", message="Done.")]
    )
    with agent_service(agents, llm, MEMGPT_AGENT_TOOL_TIMEOUT="2") as stub, ScriptedTool(functions) as tool:
        agent_id = create(stub).agent_id
        register(stub, agent_id, tool.address)
        events = send(stub, agent_id, "Try them all.", skip_verify=True)
        hang.set()
    assert spoken(events) == ["Done."]
    found = dict(zip(functions, results(events), strict=False))
    assert found["broken"] == (False, "broken failed without giving a reason.")
    assert found["refuses"] == (False, "refuses failed: no such city")
    assert found["fails"] == (False, "The lamp is off already.")
    assert found["flaky"] == (True, "there again")
    assert len(tries) == 2
    assert len(set(tries)) == 1, "tried again under its key"
    assert not found["nothing"][0]
    assert "larger than 1,048,576 bytes" in found["huge"][1]
    assert found["long"][1].startswith("y" * 3000 + "… [cut after 3,000 of 5,000")
    assert "no answer within 2 s" in found["hangs"][1]
    assert len(set(tool.keys)) == len(functions), "every call has a key of its own"
    # The suite's internal metadata must not reach others.
    assert all("x-memgpt-principal" not in metadata for metadata in tool.metadata)


def test_an_address_that_is_no_longer_allowed_is_not_called(agents: Agents, scripted_llm: Start) -> None:
    llm = scripted_llm([call("ping", request_heartbeat=True), call("send_message", message="Done.")])
    with ScriptedTool({"ping": result("pong")}) as tool:
        with agent_service(agents, llm) as stub:
            agent_id = create(stub).agent_id
            register(stub, agent_id, tool.address)
        with agent_service(agents, llm, MEMGPT_AGENT_TOOL_ADDRESSES="127.0.0.1:1") as stub:
            events = send(stub, agent_id, "Ping!", skip_verify=True)
        assert results(events)[0] == (False, "ping can no longer be called: its address is not allowed.")
        assert tool.calls == []


def test_cancelling_within_a_call(agents: Agents, scripted_llm: Start) -> None:
    started, release = threading.Event(), threading.Event()

    def slow(_: tool_pb.CallToolRequest) -> tool_pb.CallToolResponse:
        started.set()
        release.wait(60)
        return tool_pb.CallToolResponse(result="late")

    llm = scripted_llm([call("slow", request_heartbeat=True), call("send_message", message="Next.")])
    with agent_service(agents, llm) as stub, ScriptedTool({"slow": slow}) as tool:
        agent_id = create(stub).agent_id
        register(stub, agent_id, tool.address)
        stream = stub.SendMessage(
            pb.SendMessageRequest(agent_id=agent_id, text="Go", request_id="slow", skip_verify=True)
        )
        assert started.wait(60)
        stub.CancelTurn(pb.CancelTurnRequest(agent_id=agent_id, request_id="slow"))
        events = [response.event for response in stream]
        release.set()
        assert events[-1].done.state == turn_pb2.TURN_STATE_CANCELLED
        assert [ok for ok, _ in results(events)] == [False]
        assert "cancelled while the function was running" in results(events)[0][1]
        # The endpoint would refuse a history with a call without result.
        assert spoken(send(stub, agent_id, "And now?", skip_verify=True)) == ["Next."]
        sent = llm.requests[-1].messages
        answered = [m["tool_call_id"] for m in sent if m["role"] == "tool"]
        assert [c["id"] for m in sent for c in m.get("tool_calls") or ()] == answered


def test_by_tls(agents: Agents, scripted_llm: Start, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("server"), authority.issue("client")
    credentials = grpc.ssl_server_credentials(
        [(server.key.read_bytes(), server.cert.read_bytes())], authority.ca.read_bytes(), require_client_auth=True
    )
    llm = scripted_llm([call("ping", request_heartbeat=True), call("send_message", message="Done.")])
    settings = {
        "MEMGPT_AGENT_TOOL_ADDRESSES": "tls://127.0.0.1:*",
        "MEMGPT_AGENT_TOOL_TLS_CA": str(authority.ca),
        "MEMGPT_AGENT_TOOL_TLS_CERT": str(client.cert),
        "MEMGPT_AGENT_TOOL_TLS_KEY": str(client.key),
    }
    with (
        ScriptedTool({"ping": result("pong")}, credentials=credentials) as tool,
        agent_service(agents, llm, **settings) as stub,
    ):
        agent_id = create(stub).agent_id
        register(stub, agent_id, tool.address)
        assert results(send(stub, agent_id, "Ping!", skip_verify=True))[0] == (True, "pong")
