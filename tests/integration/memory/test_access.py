"""Tenants and API keys in the store: what a deletion leaves, also after a crash, and three tenants side by side."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as agents_pb
from memgpt.memory.v1 import api_key_service_pb2 as keys_pb
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1 import quota_service_pb2 as quota_pb
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1 import shared_block_service_pb2 as blocks_pb
from memgpt.memory.v1 import source_service_pb2 as sources_pb
from memgpt.memory.v1 import tenant_pb2
from memgpt.memory.v1 import tenant_service_pb2 as tenants_pb
from memgpt.memory.v1.tenant_service_pb2_grpc import TenantServiceStub
from memgpt_memory.access import FirstKey, NewApiKey, Tenants, _api_keys, _tenants
from memgpt_memory.agents import Agents
from memgpt_memory.store.filters import Equals
from memgpt_memory.store.layout import RECORDS, Collection
from memgpt_memory.store.rows import RecordKind
from memgpt_runtime import reasons
from memgpt_runtime.errors import Unavailable
from memgpt_runtime.ids import new_id
from memgpt_runtime.principal import Role
from memgpt_runtime.status import from_rpc_error

from tests.integration.memory.client import UNAVAILABLE, Memory, connected, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import failing_upserts
from tests.support.processes import ServiceProcess


async def _fill(memory: Memory, tenant: str, agents: int) -> None:
    own = memory.of(tenant)
    for number in range(agents):
        agent = await own.agent(f"agent {number}")
        await own.archive.InsertPassages(
            archival_pb.InsertPassagesRequest(agent_id=agent.agent_id, texts=["one", "two"])
        )
    await own.sources.CreateSource(sources_pb.CreateSourceRequest(name="source"))


async def test_a_deletion_that_fails_is_continued_by_the_next_process(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "store.db")
    async with serve(uri) as memory:
        tenants: Any = TenantServiceStub(memory.channel)
        await tenants.CreateTenant(tenants_pb.CreateTenantRequest(name="doomed"))
        await _fill(memory, "doomed", 3)
        await _fill(memory, "kept", 1)
        original, deleted = Agents.delete, list[str]()

        async def fail_at_the_second(self: Agents, tenant: str, agent_id: str) -> None:
            if deleted:
                raise reasons.store_unavailable("broken")
            deleted.append(agent_id)
            await original(self, tenant, agent_id)

        with monkeypatch.context() as patch:
            patch.setattr(Agents, "delete", fail_at_the_second)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await tenants.DeleteTenant(tenants_pb.DeleteTenantRequest(name="doomed"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await memory.of("doomed").agents.ListAgents(agents_pb.ListAgentsRequest())
        assert from_rpc_error(caught.value).metadata == {"resource": "tenant", "state": "DELETING"}
        with pytest.raises(grpc.aio.AioRpcError):
            await tenants.CreateTenant(tenants_pb.CreateTenantRequest(name="doomed"))

    async with serve(uri) as memory:
        tenants = TenantServiceStub(memory.channel)
        found = (await tenants.DeleteTenant(tenants_pb.DeleteTenantRequest(name="doomed"))).tenant
        assert found.state == tenant_pb2.TENANT_STATE_DELETED
        counts = found.receipt.agent_count, found.receipt.passage_count, found.receipt.source_count
        assert counts == (3, 6, 1), "each is counted once, whichever process deleted it"
        left = await memory.core().store.query(RECORDS, Equals("tenant", "doomed"), RecordKind)
        assert not left
        kept = memory.of("kept")
        assert len((await kept.agents.ListAgents(agents_pb.ListAgentsRequest())).agents) == 1


async def test_a_deletion_that_is_killed_again_and_again_ends_with_everything_counted_once(tmp_path: Path) -> None:
    """`kill -9`, also while the next start continues the deletion."""
    armed = tmp_path / "armed"

    def start(death: str) -> ServiceProcess:
        return ServiceProcess(
            "tests.integration.memory.dying", tmp_path, name="memory", DIE_AT=death, DIE_ARMED=str(armed)
        )

    request = tenants_pb.DeleteTenantRequest(name="doomed")
    with start("before:armed:3") as process:
        async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
            tenants: Any = TenantServiceStub(memory.channel)
            await tenants.CreateTenant(tenants_pb.CreateTenantRequest(name="doomed"))
            await _fill(memory, "doomed", 4)
            await _fill(memory, "kept", 1)
            armed.touch()
            with refused(UNAVAILABLE):
                await tenants.DeleteTenant(request)
            assert await asyncio.to_thread(process.wait, 60) == -9
    for death in ("after:armed:1", "before:armed:2", "after:armed:2"):
        with start(death) as process:
            assert await asyncio.to_thread(process.wait, 60) == -9, death
    armed.unlink()
    with ServiceProcess("memgpt_memory", tmp_path) as process:
        async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
            receipt = (await TenantServiceStub(memory.channel).DeleteTenant(request)).tenant.receipt
            assert (receipt.agent_count, receipt.passage_count, receipt.source_count) == (4, 8, 1)
            kept = await memory.of("kept").agents.ListAgents(agents_pb.ListAgentsRequest())
            assert len(kept.agents) == 1
            assert await _state_of(memory.of("doomed")) == "DELETED"


async def test_deletions_are_not_continued_by_a_start_that_fails(serve: Serve, tmp_path: Path) -> None:
    async with serve(str(tmp_path / "store.db")) as memory:
        core = memory.core()
        tenants, journal = core.tenants, core.agents._journal
        doomed = await tenants._mark(await tenants.create("doomed"))
        journal.pending[_tenants._key("kept")] = _tenants.KIND  # as a failed deletion leaves it
        await tenants.create("kept")
        with failing_upserts(core.store, "memgpt_records", "before"), pytest.raises(Unavailable):
            await tenants.open()
        assert not tenants._deletions
        await tenants.open()
        await tenants._deletions[doomed.name]
        assert (await tenants.get("doomed")).deleted
        assert not (await tenants.get("kept")).deleting


async def test_sums_that_are_stored_during_a_deletion_do_not_outlive_it(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(str(tmp_path / "store.db")) as memory:
        tenants: Any = TenantServiceStub(memory.channel)
        await tenants.CreateTenant(tenants_pb.CreateTenantRequest(name="doomed"))
        await _fill(memory, "doomed", 1)
        core = memory.core()
        original = Tenants._delete_rows

        async def save_afterwards(self: Tenants, *arguments: Any) -> None:
            await original(self, *arguments)
            if len(arguments) == 2:  # the rows of all kinds that are left
                await core.quotas._save()  # as once a minute

        monkeypatch.setattr(Tenants, "_delete_rows", save_afterwards)
        await tenants.DeleteTenant(tenants_pb.DeleteTenantRequest(name="doomed"))
        assert not await core.tenants._records.kinds("doomed")


async def test_a_crash_between_the_first_key_and_its_file_loses_neither(serve: Serve, tmp_path: Path) -> None:
    file, draft = tmp_path / "new" / "first_key", tmp_path / "new" / "first_key.new"
    async with serve(str(tmp_path / "store.db")) as memory:
        keys = memory.core().api_keys

        def refuse(_: str) -> None:
            raise OSError("no space")

        with pytest.raises(OSError, match="no space"):
            await keys.create(NewApiKey("default", "first", Role.OPERATOR), refuse)
        assert not (await keys.list("default", 1, "")).items
        await FirstKey(file).create(keys)
        token = file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        file.rename(draft)  # the state after such a crash
        for _ in range(2):
            await FirstKey(file).create(keys)
            assert file.read_text() == token
            assert not draft.exists()
        assert (await keys.list("default", 2, "")).total == 1


async def test_keys_created_at_once_stay_within_the_limit(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_api_keys, "MOST_KEYS", 3)
    async with serve(str(tmp_path / "store.db")) as memory:
        keys = memory.core().api_keys
        news = [NewApiKey("acme", f"key {number}", Role.READER) for number in range(8)]
        made = await asyncio.gather(*(keys.create(new) for new in news), return_exceptions=True)
        assert sum(not isinstance(one, BaseException) for one in made) == 3
        assert (await keys.list("acme", 10, "")).total == 3


async def test_a_deletion_outlives_its_caller(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(str(tmp_path / "store.db")) as memory:
        tenants: Any = TenantServiceStub(memory.channel)
        await tenants.CreateTenant(tenants_pb.CreateTenantRequest(name="doomed"))
        await _fill(memory, "doomed", 2)
        begun, go_on = asyncio.Event(), asyncio.Event()
        original = Tenants._delete_agent

        async def wait(self: Tenants, *arguments: Any) -> None:
            begun.set()
            await go_on.wait()
            await original(self, *arguments)

        monkeypatch.setattr(Tenants, "_delete_agent", wait)
        call = tenants.DeleteTenant(tenants_pb.DeleteTenantRequest(name="doomed"))
        await begun.wait()
        call.cancel()
        go_on.set()
        done = await tenants.DeleteTenant(tenants_pb.DeleteTenantRequest(name="doomed"))
        assert done.tenant.receipt.agent_count == 2


async def test_a_deleted_tenant_stays_deleted_until_it_is_created_again(serve: Serve, tmp_path: Path) -> None:
    """A token of an identity provider outlives the tenant, and a long call may have begun before the deletion."""
    uri = str(tmp_path / "store.db")
    async with serve(uri) as memory:
        tenants: Any = TenantServiceStub(memory.channel)
        await tenants.CreateTenant(tenants_pb.CreateTenantRequest(name="doomed"))
        await _fill(memory, "doomed", 1)
        own = memory.of("doomed")
        agent_id = (await own.agents.ListAgents(agents_pb.ListAgentsRequest())).agents[0].agent_id
        exporting = own.agents.ExportAgent(agents_pb.ExportAgentRequest(agent_id=agent_id))
        exported = [response.piece async for response in exporting]
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def pieces() -> AsyncIterator[agents_pb.ImportAgentRequest]:
            for number, piece in enumerate(exported):
                yield agents_pb.ImportAgentRequest(piece=piece, name="imported")
                if number == len(exported) - 2:
                    begun.set()
                    await go_on.wait()

        importing = asyncio.ensure_future(own.agents.ImportAgent(pieces()))
        await begun.wait()
        await tenants.DeleteTenant(tenants_pb.DeleteTenantRequest(name="doomed"))
        go_on.set()
        with pytest.raises(grpc.aio.AioRpcError):
            await importing
        assert await _state_of(own) == "DELETED"
        quota = quota_pb.SetQuotaRequest(tenant="doomed", quota=quota_pb.Quota(agents=1))
        with pytest.raises(grpc.aio.AioRpcError):
            await memory.quotas.SetQuota(quota)

    async with serve(uri) as memory:
        tenants, own = TenantServiceStub(memory.channel), memory.of("doomed")
        assert await _state_of(own) == "DELETED", "also after a restart"
        left = await memory.core().store.query(RECORDS, Equals("tenant", "doomed"), RecordKind)
        assert not [row for row in left if row.kind not in ("name", "request")], "they hold no contents"
        await tenants.CreateTenant(tenants_pb.CreateTenantRequest(name="doomed"))
        assert not (await own.agents.ListAgents(agents_pb.ListAgentsRequest())).agents
        await _fill(memory, "doomed", 1)


async def _state_of(own: Memory) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await own.agents.ListAgents(agents_pb.ListAgentsRequest())
    return str(from_rpc_error(caught.value).metadata["state"])


async def test_a_receipt_does_not_count_what_was_forgotten_before(serve: Serve, tmp_path: Path) -> None:
    async with serve(str(tmp_path / "store.db")) as memory:
        tenants: Any = TenantServiceStub(memory.channel)
        own = memory.of("doomed")
        agent_id = (await own.agent()).agent_id
        await own.turn(agent_id, "hello", "a thought")
        notes = await own.insert(agent_id, "one", "two")
        await own.recall.ForgetMessages(recall_pb.ForgetMessagesRequest(agent_id=agent_id, sequences=[0]))
        await own.delete(agent_id, notes[0])
        receipt = (await tenants.DeleteTenant(tenants_pb.DeleteTenantRequest(name="doomed"))).tenant.receipt
        assert (receipt.message_count, receipt.passage_count) == (1, 1)


async def test_a_tenant_that_only_tokens_name_can_be_seen_and_deleted(serve: Serve, tmp_path: Path) -> None:
    async with serve(str(tmp_path / "store.db")) as memory:
        tenants: Any = TenantServiceStub(memory.channel)
        get, delete = tenants_pb.GetTenantRequest(name="token"), tenants_pb.DeleteTenantRequest(name="token")
        for call in (tenants.GetTenant(get), tenants.DeleteTenant(delete)):
            await _not_found(call)
        await memory.of("adopted").agent("agent")
        await tenants.CreateTenant(tenants_pb.CreateTenantRequest(name="adopted"))
        await _fill(memory, "token", 2)
        listed = (await tenants.ListTenants(tenants_pb.ListTenantsRequest())).tenants
        assert [one.name for one in listed] == ["adopted", "default", "token"]
        assert [one.HasField("create_time") for one in listed] == [True, False, False]
        assert (await tenants.GetTenant(get)).tenant == listed[2]
        receipt = (await tenants.DeleteTenant(delete)).tenant.receipt
        assert (receipt.agent_count, receipt.passage_count, receipt.source_count) == (2, 4, 1)
        listed = (await tenants.ListTenants(tenants_pb.ListTenantsRequest())).tenants
        assert [one.name for one in listed] == ["adopted", "default"]
        assert await _state_of(memory.of("token")) == "DELETED"
        adopted = await memory.of("adopted").agents.ListAgents(agents_pb.ListAgentsRequest())
        assert len(adopted.agents) == 1


async def test_a_tenant_that_has_keys_only_can_be_seen_and_deleted(serve: Serve, tmp_path: Path) -> None:
    """The administrator of a tenant that only tokens name may create keys before anything else."""
    async with serve(str(tmp_path / "store.db")) as memory:
        tenants: Any = TenantServiceStub(memory.channel)
        await memory.core().api_keys.create(NewApiKey("keyed", "first", Role.ADMIN))
        listed = (await tenants.ListTenants(tenants_pb.ListTenantsRequest())).tenants
        assert [one.name for one in listed] == ["default", "keyed"]
        deleted = (await tenants.DeleteTenant(tenants_pb.DeleteTenantRequest(name="keyed"))).tenant
        assert deleted.receipt.api_key_count == 1
        assert not await memory.core().tenants._records.kinds("keyed")


async def test_what_another_tenant_has_takes_no_other_time_than_what_does_not_exist(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first such call neither reads the store, so that the time of a response tells nothing."""
    async with serve(str(tmp_path / "store.db")) as memory:
        theirs, own, core = memory.of("theirs"), memory.of("own"), memory.core()
        agent = (await theirs.agent("agent")).agent_id
        source = await theirs.sources.CreateSource(sources_pb.CreateSourceRequest(name="source"))
        block = await theirs.shared.CreateSharedBlock(blocks_pb.CreateSharedBlockRequest(name="block"))
        key, _ = await core.api_keys.create(NewApiKey("theirs", "key", Role.READER))
        scope = archival_pb.PassageScope
        calls: list[tuple[str, Callable[[str], Awaitable[Any]]]] = [
            (agent, lambda id_: own.agents.GetAgent(agents_pb.GetAgentRequest(agent_id=id_))),
            (agent, lambda id_: own.agents.DeleteAgent(agents_pb.DeleteAgentRequest(agent_id=id_))),
            (agent, lambda id_: own.archive.ListPassages(archival_pb.ListPassagesRequest(scope=scope(agent_id=id_)))),
            (source.source.source_id, lambda id_: own.sources.GetSource(sources_pb.GetSourceRequest(source_id=id_))),
            (
                source.source.source_id,
                lambda id_: own.sources.DeleteSource(sources_pb.DeleteSourceRequest(source_id=id_)),
            ),
            (
                block.block.block_id,
                lambda id_: own.shared.GetSharedBlock(blocks_pb.GetSharedBlockRequest(block_id=id_)),
            ),
            (
                block.block.block_id,
                lambda id_: own.shared.DeleteSharedBlock(blocks_pb.DeleteSharedBlockRequest(block_id=id_)),
            ),
            (key.id, lambda id_: own.keys.GetApiKey(keys_pb.GetApiKeyRequest(api_key_id=id_))),
            (key.id, lambda id_: own.keys.DeleteApiKey(keys_pb.DeleteApiKeyRequest(api_key_id=id_))),
        ]
        for id_, call in calls:
            with suppress(grpc.aio.AioRpcError):
                await call(id_)
        reads = list[str]()
        for name in ("get", "query"):
            original = getattr(core.store, name)

            def counted(*arguments: Any, original: Any = original, **options: Any) -> Any:
                reads.append(str(arguments))
                return original(*arguments, **options)

            monkeypatch.setattr(core.store, name, counted)
        for id_, call in calls:
            for one in (id_, new_id(id_.partition("_")[0])):
                with suppress(grpc.aio.AioRpcError):
                    await call(one)
                assert not reads, one
        await theirs.agents.ListTurns(agents_pb.ListTurnsRequest(agent_id=agent))
        assert reads, "reads are counted"


async def test_what_a_restricted_key_may_not_use_takes_no_other_time_than_what_does_not_exist(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "store.db")
    async with serve(uri) as memory:
        await memory.of("own").agent("hidden")
        await memory.of("own").source("hidden")
    async with serve(uri) as memory:
        restricted = memory.of("own;role=user;agents=agent_1;sources=source_1")
        store = memory.core().store
        reads = list[str]()

        async def get(target: Collection, *arguments: Any, get: Any = store.get, **options: Any) -> Any:
            reads.extend([target.name] if target is RECORDS else ())  # others are those of health checks
            return await get(target, *arguments, **options)

        monkeypatch.setattr(store, "get", get)

        async def count(call: Any) -> int:
            reads.clear()
            await _not_found(call)
            return len(reads)

        for name in ("hidden", "unknown"):
            assert await count(restricted.agents.GetAgent(agents_pb.GetAgentRequest(name=name))) == 1, name
            assert await count(restricted.sources.GetSource(sources_pb.GetSourceRequest(name=name))) == 1, name


async def test_a_request_about_another_tenants_agent_does_not_tell_that_it_is_deleted(
    serve: Serve, tmp_path: Path
) -> None:
    async with serve(str(tmp_path / "store.db")) as memory:
        theirs, own = memory.of("theirs"), memory.of("own")
        agent_id = (await theirs.agent("agent")).agent_id

        async def outcome() -> str | None:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await own.insert(agent_id, "note", request_id="r")
            return caught.value.details()

        before = await outcome()
        assert not await memory.core().store.query(RECORDS, Equals("tenant", "own"), RecordKind)
        await theirs.agents.DeleteAgent(agents_pb.DeleteAgentRequest(agent_id=agent_id))
        assert await outcome() == before


async def test_a_restricted_key_learns_nothing_from_the_requests_of_others(serve: Serve, tmp_path: Path) -> None:
    async with serve(str(tmp_path / "store.db")) as memory:
        own = memory.of("own")
        restricted = memory.of("own;role=user;agents=agent_1;sources=source_1")
        await own.agent("agent", request_id="r")
        await own.source("source", request_id="r")

        async def outcome(request_id: str) -> list[str | None]:
            details = []
            for call in (
                restricted.agent("agent", request_id=request_id),
                restricted.source("source", request_id=request_id),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
                details.append(caught.value.details())
            return details

        before = await memory.core().store.query(RECORDS, Equals("tenant", "own"), RecordKind)
        assert await outcome("r") == await outcome("of nobody")
        assert await memory.core().store.query(RECORDS, Equals("tenant", "own"), RecordKind) == before


class Oracle:
    """What one tenant should see: names of agents and sources by id, and notes by agent."""

    def __init__(self, memory: Memory, tenant: str) -> None:
        self.memory = memory.of(tenant)
        self.agents: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self.notes: dict[str, list[str]] = {}
        self._requests = 0

    def _request_id(self) -> str:
        """Return an id that the other tenants use too."""
        self._requests += 1
        return f"request {self._requests}"

    async def create_agent(self, name: str) -> None:
        if name in self.agents.values():
            return
        created = await self.memory.agents.CreateAgent(
            agents_pb.CreateAgentRequest(name=name, request_id=self._request_id())
        )
        self.agents[created.agent.agent_id] = name
        self.notes[created.agent.agent_id] = []

    async def create_source(self, name: str) -> None:
        if name in self.sources.values():
            return
        request = sources_pb.CreateSourceRequest(name=name, request_id=self._request_id())
        self.sources[(await self.memory.sources.CreateSource(request)).source.source_id] = name

    async def insert(self, agent_id: str, text: str) -> None:
        await self.memory.archive.InsertPassages(archival_pb.InsertPassagesRequest(agent_id=agent_id, texts=[text]))
        self.notes[agent_id].append(text)

    async def delete_agent(self, agent_id: str) -> None:
        await self.memory.agents.DeleteAgent(agents_pb.DeleteAgentRequest(agent_id=agent_id))
        del self.agents[agent_id], self.notes[agent_id]

    async def check(self) -> None:
        listed = (await self.memory.agents.ListAgents(agents_pb.ListAgentsRequest())).agents
        assert {agent.agent_id: agent.name for agent in listed} == self.agents
        sources = (await self.memory.sources.ListSources(sources_pb.ListSourcesRequest())).sources
        assert {source.source_id: source.name for source in sources} == self.sources
        for agent_id, notes in self.notes.items():
            request = archival_pb.ListPassagesRequest(scope=archival_pb.PassageScope(agent_id=agent_id))
            found = (await self.memory.archive.ListPassages(request)).passages
            assert sorted(passage.text for passage in found) == sorted(notes)

    async def intrude(self, other: Oracle) -> None:
        """Ask for everything of another tenant, by id and by page token."""
        mine = self.memory
        for agent_id in other.agents:
            for call in (
                mine.agents.GetAgent(agents_pb.GetAgentRequest(agent_id=agent_id)),
                mine.agents.DeleteAgent(agents_pb.DeleteAgentRequest(agent_id=agent_id)),
                mine.archive.InsertPassages(archival_pb.InsertPassagesRequest(agent_id=agent_id, texts=["theirs"])),
                mine.archive.SearchPassages(
                    archival_pb.SearchPassagesRequest(scope=archival_pb.PassageScope(agent_id=agent_id), query="note")
                ),
            ):
                await _not_found(call)
        for source_id in other.sources:
            await _not_found(mine.sources.GetSource(sources_pb.GetSourceRequest(source_id=source_id)))
            await _not_found(mine.sources.DeleteSource(sources_pb.DeleteSourceRequest(source_id=source_id)))
        first = agents_pb.ListAgentsRequest(page_size=1)
        token = (await other.memory.agents.ListAgents(first)).next_page_token
        if token:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await mine.agents.ListAgents(agents_pb.ListAgentsRequest(page_size=1, page_token=token))
            assert from_rpc_error(caught.value).reason == "INVALID_PAGE_TOKEN"


async def _not_found(call: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("seed", range(3))
async def test_three_tenants_side_by_side(memory: Memory, seed: int) -> None:
    """Random operations with shared names and request ids; every tenant sees what an oracle of its own says."""
    chance = random.Random(seed)
    oracles = [Oracle(memory, f"t{uuid4().hex}") for _ in range(3)]
    for step in range(40):
        oracle = chance.choice(oracles)
        name, agents = chance.choice("abc"), list(oracle.agents)
        match chance.randrange(6):
            case 0 | 1:
                await oracle.create_agent(name)
            case 2:
                await oracle.create_source(name)
            case 3 | 4 if agents:
                await oracle.insert(chance.choice(agents), f"note {step}")
            case 5 if agents:
                await oracle.delete_agent(chance.choice(agents))
        if step % 10 == 9:
            for one in oracles:
                await one.check()
                for other in oracles:
                    if other is not one:
                        await one.intrude(other)
    for one in oracles:
        await one.check()
