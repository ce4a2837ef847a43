"""The audit log of the whole suite: who did what, by the names of their keys, and who was refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.memory.v1 import quota_service_pb2 as quota_pb
from memgpt.memory.v1.quota_service_pb2_grpc import QuotaServiceStub

from tests.support.credentials import GuardedSuite, Metadata, bearer, reason_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audited")


@pytest.fixture(scope="module")
def suite(home: Path) -> Iterator[GuardedSuite]:
    with GuardedSuite(home, MEMGPT_SERVER_AUDIT="file") as suite:
        suite.create_tenant("acme")
        yield suite


def lines(home: Path, service: str, request_id: str) -> list[dict[str, Any]]:
    """The lines of one call."""
    found = [json.loads(line) for line in (home / "audit" / f"{service}.jsonl").read_text().splitlines()]
    return [line for line in found if line["request_id"] == request_id]


def called(request_id: str, token: str = "") -> Metadata:
    return (("x-request-id", request_id), *(bearer(token) if token else ()))


def test_a_change_has_lines_of_every_service_that_took_part(suite: GuardedSuite, home: Path) -> None:
    agents: Any = AgentServiceStub(suite.channel("agent"))
    _, token = suite.create_key("Ann's laptop", "user", "acme")
    request = agent_pb.CreateAgentRequest(name="a secret name")
    agent_id = agents.CreateAgent(request, metadata=called("creating", token)).agent.agent_id
    (edge,) = lines(home, "agent", "creating")
    inner = lines(home, "memory", "creating")
    assert (edge["key"], edge["role"], edge["tenant"], edge["status"]) == ("Ann's laptop", "user", "acme", "OK")
    assert edge["resource"]["agent_id"] == agent_id
    assert {(line["key"], line["tenant"]) for line in inner} == {("Ann's laptop", "acme")}
    assert [line["rpc"] for line in inner if line["resource"].get("agent_id") == agent_id] == [
        "memgpt.memory.v1.AgentStateService/CreateAgent"
    ]
    agents.ListAgents(agent_pb.ListAgentsRequest(), metadata=called("reading", token))
    assert lines(home, "agent", "reading") == lines(home, "memory", "reading") == []
    sent = agents.SendMessage(
        agent_pb.SendMessageRequest(agent_id=agent_id, text="a secret message", request_id="t-1"),
        metadata=called("talking", token),
    )
    assert list(sent)
    (line,) = lines(home, "agent", "talking")
    assert (line["status"], line["resource"]["agent_id"], line["resource"]["request_id"]) == ("OK", agent_id, "t-1")
    steps = [line for line in lines(home, "memory", "talking") if line["rpc"].endswith("/CommitStep")]
    assert line["turn_id"] == steps[0]["turn_id"] != ""
    for file in (home / "audit").glob("*.jsonl"):
        text = file.read_text()
        assert "secret" not in text
        assert token not in text


def test_refusals_say_whose_they_are(suite: GuardedSuite, home: Path) -> None:
    agents: Any = AgentServiceStub(suite.channel("agent"))
    quotas: Any = QuotaServiceStub(suite.channel("memory"))
    _, reader = suite.create_key("reader", "reader", "acme")
    request = agent_pb.CreateAgentRequest(name="x")
    for request_id, token in (("anonymous", ""), ("guessed", "mgk_guessed"), ("reading", reader)):
        with pytest.raises(grpc.RpcError):
            agents.CreateAgent(request, metadata=called(request_id, token))
    found = [lines(home, "agent", request_id)[-1] for request_id in ("anonymous", "guessed", "reading")]
    assert [(line["event"], line["status"], line["tenant"], line["key"], line["role"]) for line in found] == [
        ("refusal", "UNAUTHENTICATED", "", "", ""),
        ("refusal", "UNAUTHENTICATED", "", "", ""),
        ("refusal", "PERMISSION_DENIED", "acme", "reader", "reader"),
    ]
    limits = quota_pb.SetQuotaRequest(tenant="acme", quota=quota_pb.Quota(agents=1))
    with pytest.raises(grpc.RpcError) as caught:
        quotas.SetQuota(limits, metadata=called("not an operator", reader))
    assert reason_of(caught.value) == "NOT_PERMITTED"
    quotas.SetQuota(limits, metadata=called("limiting", suite.operator))
    (line,) = lines(home, "memory", "limiting")
    assert (line["role"], line["resource"]) == ("operator", {"tenant": "acme"})


def test_a_quota_is_refused_at_the_edge_with_its_details(suite: GuardedSuite, home: Path) -> None:
    agents: Any = AgentServiceStub(suite.channel("agent"))
    quotas: Any = QuotaServiceStub(suite.channel("memory"))
    suite.create_tenant("small")
    _, token = suite.create_key("small", "user", "small")
    limits = quota_pb.SetQuotaRequest(tenant="small", quota=quota_pb.Quota(agents=1, turns_per_minute=1))
    quotas.SetQuota(limits, metadata=bearer(suite.operator))
    agent_id = agents.CreateAgent(agent_pb.CreateAgentRequest(name="one"), metadata=bearer(token)).agent.agent_id
    with pytest.raises(grpc.RpcError) as caught:
        agents.CreateAgent(agent_pb.CreateAgentRequest(name="two"), metadata=called("too-many", token))
    assert reason_of(caught.value) == "QUOTA_EXCEEDED"
    for service in ("agent", "memory"):
        (line,) = [one for one in lines(home, service, "too-many") if one["event"] == "refusal"]
        assert (line["reason"], line["tenant"], line["key"]) == ("QUOTA_EXCEEDED", "small", "small")
    message = agent_pb.SendMessageRequest(agent_id=agent_id, text="hello")
    assert list(agents.SendMessage(message, metadata=bearer(token)))
    with pytest.raises(grpc.RpcError) as caught:
        list(agents.SendMessage(message, metadata=bearer(token)))
    assert reason_of(caught.value) == "QUOTA_EXCEEDED"
    usage = quotas.GetUsage(quota_pb.GetUsageRequest(), metadata=bearer(token))
    assert (usage.usage.agents, [one.agent_id for one in usage.agents]) == (1, [agent_id])
