"""Timed heartbeats as Memory keeps them: whole, with the step that changes them, and found while they are there."""

from __future__ import annotations

from uuid import uuid4

import grpc
import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt.memory.v1.agent_state_service_pb2_grpc import AgentStateServiceStub
from memgpt.memory.v1.heartbeat_pb2 import Heartbeats

from tests.integration.memory.client import Memory, refused


async def put(memory: Memory, agent_id: str, plan: str, etag: str = "") -> Heartbeats:
    request = pb.PutHeartbeatsRequest(agent_id=agent_id, heartbeats=Heartbeats(plan=plan, etag=etag))
    return (await memory.agents.PutHeartbeats(request)).heartbeats  # type: ignore[no-any-return]


async def listed(memory: Memory, size: int = 0) -> dict[str, str]:
    found: dict[str, str] = {}
    request = pb.ListHeartbeatsRequest(page_size=size)
    while True:
        page = await memory.agents.ListHeartbeats(request)
        found |= {one.agent_id: one.heartbeats.plan for one in page.agents}
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_a_write_over_another_one_is_refused(memory: Memory) -> None:
    agent_id = (await memory.agent()).agent_id
    first = await put(memory, agent_id, "one 时钟")
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await put(memory, agent_id, "two")
    second = await put(memory, agent_id, "two", first.etag)
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await put(memory, agent_id, "three", first.etag)
    assert (await memory.context(agent_id)).heartbeats == second
    assert second.plan == "two"


async def test_agents_with_heartbeats_are_listed_page_by_page(memory: Memory) -> None:
    ids = [(await memory.agent()).agent_id for _ in range(4)]
    etags = {agent_id: (await put(memory, agent_id, f"plan of {agent_id}")).etag for agent_id in ids[:3]}
    assert await listed(memory) == await listed(memory, 1) == {one: f"plan of {one}" for one in ids[:3]}
    await put(memory, ids[0], "", etags[ids[0]])
    await memory.agents.DeleteAgent(pb.DeleteAgentRequest(agent_id=ids[1], request_id="delete"))
    assert list(await listed(memory)) == [ids[2]]
    assert await listed(memory.of("another")) == {}
    one = (await memory.agents.ListHeartbeats(pb.ListHeartbeatsRequest(agent_id=ids[3]))).agents
    assert [(agent.agent_id, agent.time_zone, agent.heartbeats.plan) for agent in one] == [(ids[3], "UTC", "")]


@pytest.mark.parametrize("etag", ["", "h999"])
async def test_a_step_changes_them_whole_or_not_at_all(memory: Memory, etag: str) -> None:
    agent_id = (await memory.agent()).agent_id
    lease = (await memory.begin(agent_id, "turn", "Hello.")).lease
    edit = Heartbeats(plan="from a step", etag=etag)
    if etag:
        with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
            await memory.commit(agent_id, lease, 1, "Scheduled.", heartbeats=edit)
        assert (await memory.context(agent_id)).heartbeats.plan == ""
        assert len(await memory.history(agent_id)) == 1
    committed = await memory.commit(agent_id, lease, 1, "Scheduled.", heartbeats=Heartbeats(plan="from a step"))
    assert committed.context.heartbeats.plan == "from a step"
    assert list(await listed(memory)) == [agent_id]


async def test_a_service_lists_those_of_all_tenants_for_its_own_work(memory: Memory) -> None:
    another = memory.of(f"t{uuid4().hex}")
    tenants = {(await client.agent()).agent_id: client for client in (memory, another)}
    for agent_id, client in tenants.items():
        await put(client, agent_id, "a plan")
    request = pb.ListHeartbeatsRequest(all_tenants=True, page_size=1)
    found = dict[str, str]()
    while True:
        page = await memory.agents.ListHeartbeats(request)
        found |= {one.agent_id: one.tenant for one in page.agents}
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found.items() >= {agent_id: client.tenant for agent_id, client in tenants.items()}.items()
    caller = AgentStateServiceStub(memory.channel)
    with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED"):
        await caller.ListHeartbeats(request, metadata=(("x-memgpt-principal", "tenant=another;role=operator"),))
