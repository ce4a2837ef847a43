"""API keys over the three services: who may call, and what ends when a key does."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.common.v1 import identity_service_pb2 as identity_pb
from memgpt.common.v1 import permission_pb2
from memgpt.common.v1.identity_service_pb2_grpc import IdentityServiceStub

from tests.support.credentials import GuardedSuite, bearer, reason_of


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedSuite]:
    with GuardedSuite(tmp_path_factory.mktemp("guarded")) as suite:
        suite.create_tenant("acme")
        suite.create_tenant("globex")
        yield suite


@pytest.mark.parametrize("server", ["memory", "loader", "agent"])
def test_every_server_knows_an_api_key(suite: GuardedSuite, server: str) -> None:
    key_id, token = suite.create_key(f"who {server}", "user", "acme", agent_ids=["agent_1"])
    me = IdentityServiceStub(suite.channel(server)).WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer(token))
    assert me == identity_pb.WhoAmIResponse(
        tenant="acme",
        role=permission_pb2.ROLE_USER,
        credential_kind=identity_pb.CREDENTIAL_KIND_API_KEY,
        credential_id=key_id,
        credential_name=f"who {server}",
        agent_ids=["agent_1"],
    )


def test_a_tenant_sees_its_own_agents_only(suite: GuardedSuite) -> None:
    agents = AgentServiceStub(suite.channel("agent"))
    acme, globex = (bearer(suite.create_key("mine", "user", tenant)[1]) for tenant in ("acme", "globex"))
    agent = agents.CreateAgent(agent_pb.CreateAgentRequest(name="shared name"), metadata=acme).agent
    other = agents.CreateAgent(agent_pb.CreateAgentRequest(name="shared name"), metadata=globex).agent
    listed = agents.ListAgents(agent_pb.ListAgentsRequest(), metadata=acme).agents
    assert [each.agent_id for each in listed] == [agent.agent_id]
    with pytest.raises(grpc.RpcError) as caught:
        agents.GetAgent(agent_pb.GetAgentRequest(agent_id=other.agent_id), metadata=acme)
    assert reason_of(caught.value) == "AGENT_NOT_FOUND"
