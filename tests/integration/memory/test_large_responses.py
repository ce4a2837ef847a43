"""No response is larger than clients accept, unless a single item of it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import archival_memory_service_pb2 as archive_pb
from memgpt.memory.v1 import profile_service_pb2 as profiles_pb
from memgpt.memory.v1 import source_service_pb2 as sources_pb
from memgpt.memory.v1.archival_memory_service_pb2 import PassageScope
from memgpt.memory.v1.profile_pb2 import PROFILE_KIND_PERSONA
from memgpt.memory.v1.source_service_pb2 import LoadRecord
from memgpt.memory.v1.tool_pb2 import ToolFunction, ToolServer

from tests.integration.memory.client import PRECONDITION, Memory, refused

CLIENTS_ACCEPT = 4 << 20
TEXT = "汉" * 65_536
COUNT = 24
"""Items whose texts are larger than one response."""


async def _pages(method: Callable[..., Awaitable[Any]], request: Any, field: str) -> list[Any]:
    """Return all items, from pages that clients accept."""
    items: list[Any] = []
    sizes = []
    while True:
        page = await method(request)
        assert page.ByteSize() < CLIENTS_ACCEPT
        items += getattr(page, field)
        sizes.append(len(getattr(page, field)))
        if not page.next_page_token:
            assert len(sizes) > 1
            return items
        request.page_token = page.next_page_token


async def test_a_list_of_agents_ends_early(memory: Memory) -> None:
    for number in range(COUNT):
        await memory.agents.CreateAgent(state.CreateAgentRequest(name=f"agent-{number}", system=TEXT))
    agents = await _pages(memory.agents.ListAgents, state.ListAgentsRequest(page_size=1000), "agents")
    assert [agent.name for agent in agents] == [f"agent-{number}" for number in range(COUNT)]


async def test_a_list_of_profiles_ends_early(memory: Memory) -> None:
    profiles = memory.profiles
    names = sorted(f"persona-{number}" for number in range(COUNT))
    for name in names:
        await profiles.PutProfile(profiles_pb.PutProfileRequest(kind=PROFILE_KIND_PERSONA, name=name, text=TEXT))
    request = profiles_pb.ListProfilesRequest(kind=PROFILE_KIND_PERSONA, page_size=1000)
    assert [profile.name for profile in await _pages(profiles.ListProfiles, request, "profiles")] == names


async def test_a_list_of_load_records_ends_early(memory: Memory) -> None:
    source = await memory.source()
    ids = [f"load_{number:02}" for number in range(6)]
    for id_ in ids:
        record = LoadRecord(load_id=id_, source_id=source.source_id, request_id=id_, state=bytes(1 << 20))
        await memory.sources.PutLoadRecord(sources_pb.PutLoadRecordRequest(record=record))
    request = sources_pb.ListLoadRecordsRequest(page_size=1000)
    assert [one.load_id for one in await _pages(memory.sources.ListLoadRecords, request, "records")] == ids[::-1]


async def test_large_notes_are_not_repeated_to_the_caller(memory: Memory) -> None:
    agent = await memory.agent()
    text = "The tide comes in. " * 42_000
    request = archive_pb.InsertPassagesRequest(agent_id=agent.agent_id, texts=[text] * 4, request_id="large")
    stored = await memory.archive.InsertPassages(request)
    assert stored.ByteSize() < CLIENTS_ACCEPT
    assert {passage.text for passage in stored.passages} == {""}
    repeated = await memory.archive.InsertPassages(request)
    assert [one.passage_id for one in repeated.passages] == [one.passage_id for one in stored.passages]
    scope = PassageScope(agent_id=agent.agent_id)
    some = archive_pb.GetPassagesRequest(scope=scope, passage_ids=[stored.passages[0].passage_id])
    assert (await memory.archive.GetPassages(some)).passages[0].text.startswith("The tide comes in.")


async def test_functions_that_would_not_fit_into_a_response_are_refused(memory: Memory) -> None:
    agent = await memory.agent()

    def server(address: str, count: int) -> ToolServer:
        names = [f"{address[0]}{number}" for number in range(count)]
        functions = [ToolFunction(name=name, description=TEXT[:4096], parameters="x" * 53_000) for name in names]
        return ToolServer(address=address, functions=functions)

    async def put(server: ToolServer) -> None:
        await memory.agents.PutToolServer(state.PutToolServerRequest(agent_id=agent.agent_id, server=server))

    await put(server("a:1", 24))
    await put(server("b:1", 23))
    for larger in (server("b:1", 25), server("c:1", 1)):
        with refused(PRECONDITION):
            await put(larger)
    listed = await memory.agents.ListToolServers(state.ListToolServersRequest(agent_id=agent.agent_id))
    assert [len(one.functions) for one in listed.servers] == [24, 23]
    assert listed.ByteSize() < 3 << 20
