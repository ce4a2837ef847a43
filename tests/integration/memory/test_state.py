"""Agents, blocks, profiles and messages: what is written is read back, whatever it holds, and limits hold."""

from __future__ import annotations

import asyncio
import unicodedata
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.memory.v1 import (
    agent_pb2,
    block_pb2,
    block_service_pb2,
    message_pb2,
    profile_pb2,
    profile_service_pb2,
    recall_memory_service_pb2,
    source_service_pb2,
)
from memgpt.memory.v1 import agent_state_service_pb2 as pb

from tests.integration.memory.client import (
    ABORTED,
    INVALID,
    NOT_FOUND,
    PRECONDITION,
    TAKEN,
    Memory,
    refused,
    thought,
    user,
)

NASTY = [
    'O\'Brien said "hello" \\"; percent % under_score {braces} [brackets] $1',
    'x" or id != "',
    "back\\slash\\",
    "emoji 🦋👩‍👩‍👧 and e\u0301, 汉字 かな ไทย עברית, \u2028\u00a0\ufeff",
]


async def set_block(memory: Memory, agent_id: str, label: str, value: str, **fields: Any) -> block_pb2.Block:
    block = block_pb2.BlockEdit(label=label, value=value, **fields)
    request = block_service_pb2.SetBlockRequest(agent_id=agent_id, block=block)
    return (await memory.blocks.SetBlock(request)).block  # type: ignore[no-any-return]


async def get_block(memory: Memory, agent_id: str, label: str) -> block_pb2.Block:
    request = block_service_pb2.GetBlockRequest(agent_id=agent_id, label=label)
    return (await memory.blocks.GetBlock(request)).block  # type: ignore[no-any-return]


async def labels(memory: Memory, agent_id: str) -> list[str]:
    answer = await memory.blocks.ListBlocks(block_service_pb2.ListBlocksRequest(agent_id=agent_id))
    return [block.label for block in answer.blocks]


async def update(memory: Memory, agent_id: str, *paths: str, **fields: Any) -> agent_pb2.Agent:
    agent = agent_pb2.Agent(agent_id=agent_id, **fields)
    request = pb.UpdateAgentRequest(agent=agent, update_mask=FieldMask(paths=paths))
    return (await memory.agents.UpdateAgent(request)).agent  # type: ignore[no-any-return]


async def get(memory: Memory, **key: str) -> agent_pb2.Agent:
    return (await memory.agents.GetAgent(pb.GetAgentRequest(**key))).agent  # type: ignore[no-any-return]


async def test_a_block_is_written_only_over_what_was_read(memory: Memory) -> None:
    agent = await memory.agent()
    first = await set_block(memory, agent.agent_id, "human", "one")
    second = await set_block(memory, agent.agent_id, "human", "two", etag=first.etag)
    assert second.etag != first.etag
    with refused(ABORTED, "ETAG_MISMATCH"):
        await set_block(memory, agent.agent_id, "human", "three", etag=first.etag)
    assert await get_block(memory, agent.agent_id, "human") == second
    with refused(ABORTED, "ETAG_MISMATCH"):
        await set_block(memory, agent.agent_id, "deleted", "by somebody else", etag=first.etag)
    outcomes = await asyncio.gather(
        *(set_block(memory, agent.agent_id, "human", f"{n}", etag=second.etag) for n in range(6)),
        return_exceptions=True,
    )
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1


async def test_a_block_holds_no_more_than_its_limit(memory: Memory) -> None:
    agent = await memory.agent()
    assert (await set_block(memory, agent.agent_id, "human", "é" * 2000)).limit == 2000
    with refused(INVALID, "BLOCK_LIMIT_EXCEEDED") as error:
        await set_block(memory, agent.agent_id, "human", "é" * 2001)
    assert "2000" in error.message
    assert (await get_block(memory, agent.agent_id, "human")).value == "é" * 2000
    raised = await set_block(memory, agent.agent_id, "human", "🦋" * 20_000, limit=20_000)
    assert await get_block(memory, agent.agent_id, "human") == raised
    with refused(INVALID):
        await set_block(memory, agent.agent_id, "human", "x", limit=20_001)
    with refused(INVALID, "BLOCK_LIMIT_EXCEEDED"):
        await set_block(memory, agent.agent_id, "human", "xx", limit=1)
    with refused(INVALID, "BLOCK_LIMIT_EXCEEDED"):
        await memory.agent(blocks=[block_pb2.BlockEdit(label="human", value="xx", limit=1)])


async def test_an_agent_has_thirty_two_blocks_at_most(memory: Memory) -> None:
    long = ["x" * 60 + f"{n:02}" for n in range(32)]
    agent = await memory.agent(blocks=[block_pb2.BlockEdit(label=label, value=label) for label in long[:31]])
    await set_block(memory, agent.agent_id, long[31], "the last")
    with refused(PRECONDITION):
        await set_block(memory, agent.agent_id, "one_too_many", "x")
    assert await labels(memory, agent.agent_id) == long
    delete = block_service_pb2.DeleteBlockRequest(agent_id=agent.agent_id, label=long[3])
    await memory.blocks.DeleteBlock(delete)
    await memory.blocks.DeleteBlock(delete)
    with refused(NOT_FOUND, "BLOCK_NOT_FOUND"):
        await get_block(memory, agent.agent_id, long[3])
    await set_block(memory, agent.agent_id, "one_more", "x")
    await set_block(memory, agent.agent_id, long[4], "written again")
    assert await labels(memory, agent.agent_id) == [*long[:3], *long[4:], "one_more"]


@pytest.mark.parametrize("label", ["", "1st", "with space", 'a"b', "ä", "x" * 65])
async def test_labels_are_plain(memory: Memory, label: str) -> None:
    agent = await memory.agent()
    with refused(INVALID):
        await set_block(memory, agent.agent_id, label, "x")


async def test_nasty_strings_come_back_as_they_were(memory: Memory) -> None:
    for text in [*NASTY, "line\nbreak\ttab\r\x00\x1f"]:
        name = "".join(char for char in text if char >= " " and char not in "\u2028\ufeff") + uuid4().hex
        agent = await memory.agent(name, system=text, persona=text, blocks=[block_pb2.BlockEdit(label="b", value=text)])
        found = await get(memory, name=name)
        assert (found.agent_id, found.name, found.system, found.persona) == (agent.agent_id, name, text, text)
        assert (await get_block(memory, agent.agent_id, "b")).value == text
        await memory.turn(agent.agent_id, text, text)
        assert [message.text for message in await memory.history(agent.agent_id)] == [text, text]
        await memory.insert(agent.agent_id, f"a {text} b", tags=[text[:64]])
        assert (await memory.texts(text + "x", agent_id=agent.agent_id)) == [f"a {text} b"]
        source = await memory.source(name, description=text)
        found_source = await memory.sources.GetSource(source_service_pb2.GetSourceRequest(name=name))
        assert found_source.source == source
        await memory.load(source.source_id, f"dir/{text}", [f"in {text}"])
        hit = (await memory.page("x", source_id=source.source_id)).hits[0]
        assert (hit.passage.citation.source_name, hit.passage.citation.file_name) == (name, f"dir/{text}")
        profile = profile_service_pb2.PutProfileRequest(kind=profile_pb2.PROFILE_KIND_PERSONA, name=name, text=text)
        assert (await memory.profiles.PutProfile(profile)).profile.text == text
    with refused(NOT_FOUND):
        await get(memory, name='x" or "1" == "1')


@pytest.mark.parametrize("agent_id", ['x" or "1"=="1', "x'", "a b", "ä", "x" * 65, "a\\", ""])
async def test_ids_are_not_let_through_unless_they_could_be_ours(memory: Memory, agent_id: str) -> None:
    with refused(INVALID):
        await get(memory, agent_id=agent_id)
    with refused(INVALID):
        await update(memory, agent_id, "name", name="x")
    with refused(INVALID):
        await memory.insert(agent_id, "x")


async def test_a_message_of_one_mebibyte_comes_back_and_a_longer_one_is_refused(memory: Memory) -> None:
    agent = await memory.agent()
    texts = ["x" * (1 << 20), "é" * (1 << 19), "🦋" * (1 << 18), "a" + "汉" * 349_525]
    for text in texts:
        await memory.turn(agent.agent_id, text)
    assert [message.text for message in await memory.history(agent.agent_id)] == texts
    with refused(INVALID):
        await memory.begin(agent.agent_id, "r", "x" * ((1 << 20) + 1))
    with refused(INVALID):
        await memory.begin(agent.agent_id, "r", "é" * (1 << 19) + "x")
    grant = await memory.begin(agent.agent_id, "r", "short")
    call = message_pb2.FunctionCall(call_id="c", name="f", arguments='{"a": "' + "ü\\" * 200_000 + '"}')
    message = message_pb2.NewMessage(role=message_pb2.ROLE_ASSISTANT, text="thought " * 1000, function_call=call)
    message.usage.prompt_tokens, message.usage.completion_tokens = 2**40, 7
    await memory.agents.CommitStep(
        pb.CommitStepRequest(agent_id=agent.agent_id, lease=grant.lease, step=1, messages=[message])
    )
    stored = (await memory.history(agent.agent_id))[-1]
    assert (stored.text, stored.function_call, stored.usage) == (message.text, call, message.usage)
    call.arguments = "x" * (1 << 20)
    message.function_call.CopyFrom(call)
    with refused(INVALID, "TOO_LARGE"):
        await memory.agents.CommitStep(
            pb.CommitStepRequest(agent_id=agent.agent_id, lease=grant.lease, step=2, messages=[message])
        )


async def test_a_window_of_large_messages_can_be_loaded_and_read(memory: Memory) -> None:
    agent = await memory.agent()
    texts = [f"{n} " + "x" * ((1 << 20) - 2) for n in range(6)]
    for text in texts:
        await memory.turn(agent.agent_id, text)
    # A page fits into what any client takes; a context does not, and the suite's own channels take more.
    assert [message.text for message in await memory.history(agent.agent_id)] == texts
    search = recall_memory_service_pb2.SearchMessagesRequest(agent_id=agent.agent_id, query="x", page_size=5)
    found, token = [], ""
    while True:
        search.page_token = token
        page = await memory.recall.SearchMessages(search)
        assert page.total_size == 6
        found += [message.text for message in page.messages]
        token = page.next_page_token
        if not token:
            break
    assert found == texts[::-1]
    roomy = [("grpc.max_receive_message_length", 32 << 20), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(memory.address, options=roomy) as channel:
        context = await Memory(channel, memory.tenant, memory.address).context(agent.agent_id)
    assert [message.text for message in context.messages] == texts


async def test_a_tool_message_and_no_other_answers_a_call(memory: Memory) -> None:
    agent = await memory.agent()
    grant = await memory.begin(agent.agent_id, "r", "x")
    for message in (
        message_pb2.NewMessage(role=message_pb2.ROLE_TOOL, text="x"),
        message_pb2.NewMessage(role=message_pb2.ROLE_USER, text="x", call_id="c"),
        message_pb2.NewMessage(
            role=message_pb2.ROLE_USER, text="x", function_call=message_pb2.FunctionCall(call_id="c", name="f")
        ),
    ):
        with refused(INVALID):
            await memory.agents.CommitStep(
                pb.CommitStepRequest(agent_id=agent.agent_id, lease=grant.lease, step=1, messages=[message])
            )


@pytest.mark.parametrize("name", ["  ", " Ada", "A\x07da", "A\u202eda", "A\u200bda", "A\ufffeda"])
async def test_names_show_what_they_are(memory: Memory, name: str) -> None:
    async def put(kind: profile_pb2.ProfileKind.ValueType) -> None:
        await memory.profiles.PutProfile(profile_service_pb2.PutProfileRequest(kind=kind, name=name, text="x"))

    agent = await memory.agent()
    kinds = profile_pb2.PROFILE_KIND_PERSONA, profile_pb2.PROFILE_KIND_HUMAN, profile_pb2.PROFILE_KIND_PRESET
    for named in (
        memory.agent(name),
        update(memory, agent.agent_id, "name", name=name),
        memory.source(name),
        *map(put, kinds),
    ):
        with refused(INVALID, "INVALID_FIELD"):
            await named
    assert await get(memory, agent_id=agent.agent_id) == agent


async def test_names_are_unique_also_after_renaming_and_free_after_deleting(memory: Memory) -> None:
    one = await memory.agent("One")
    with refused(TAKEN, "NAME_TAKEN"):
        await memory.agent("One")
    two = await memory.agent("Two")
    with refused(TAKEN, "NAME_TAKEN"):
        await update(memory, two.agent_id, "name", name="One")
    assert (await get(memory, name="Two")).agent_id == two.agent_id
    renamed = await update(memory, one.agent_id, "name", name="Uno")
    assert renamed.name == "Uno"
    assert renamed.etag != one.etag
    with refused(NOT_FOUND):
        await get(memory, name="One")
    await update(memory, two.agent_id, "name", name="One")
    assert (await get(memory, name="One")).agent_id == two.agent_id
    await memory.agents.DeleteAgent(pb.DeleteAgentRequest(agent_id=two.agent_id))
    with refused(NOT_FOUND):
        await get(memory, name="One")
    three = await memory.agent("One")
    assert three.agent_id not in (one.agent_id, two.agent_id)
    assert await memory.history(three.agent_id) == []
    await memory.source("One")  # another kind of thing
    with refused(TAKEN, "NAME_TAKEN"):
        await memory.source("One")


async def test_a_new_agent_gets_the_first_name_that_is_free(memory: Memory) -> None:
    one = await memory.agent("One")
    two = await memory.agent("One", fallback_names=["One", "Two", "Three"], request_id="r")
    assert two.name == "Two"
    with refused(TAKEN, "NAME_TAKEN"):
        await memory.agent("One", fallback_names=["Two"])
    await memory.agents.DeleteAgent(pb.DeleteAgentRequest(agent_id=one.agent_id))
    assert await memory.agent("One", fallback_names=["One", "Two", "Three"], request_id="r") == two
    with refused(INVALID):
        await memory.agent("Two", fallback_names=[" "])
    assert [agent.name for agent in await memory.listed()] == ["Two"]


async def test_one_of_many_concurrent_callers_gets_a_name(memory: Memory) -> None:
    outcomes = await asyncio.gather(*(memory.agent("Wanted") for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, agent_pb2.Agent) for outcome in outcomes) == 1
    listed = await memory.agents.ListAgents(pb.ListAgentsRequest())
    assert listed.total_size == len(listed.agents) == 1
    owner = listed.agents[0].agent_id
    outcomes = await asyncio.gather(
        *(update(memory, owner, "name", name=f"name {n}") for n in range(4)), return_exceptions=True
    )
    last = (await get(memory, agent_id=owner)).name
    for name in {"Wanted", *(f"name {n}" for n in range(4))} - {last}:
        await memory.agent(name)


async def test_creating_is_idempotent_by_request_id(memory: Memory) -> None:
    fields: dict[str, Any] = {"request_id": "r", "system": "汉" * 60_000, "messages": [user("boot"), thought("t")]}
    first = await memory.agent("Once", **fields)
    assert await memory.agent("Once", **fields) == first
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await memory.agent("Twice", **fields)
    together = await asyncio.gather(*(memory.agent("Together", request_id="t") for _ in range(5)))
    assert len({agent.agent_id for agent in together}) == 1
    assert len(await memory.history(first.agent_id)) == 2
    source = await memory.source("Once", request_id="r")
    assert await memory.source("Once", request_id="r") == source
    for _ in range(2):
        await memory.agents.DeleteAgent(pb.DeleteAgentRequest(agent_id=first.agent_id, request_id="d"))
        await memory.sources.DeleteSource(
            source_service_pb2.DeleteSourceRequest(source_id=source.source_id, request_id="d")
        )
    with refused(NOT_FOUND):
        await memory.agents.DeleteAgent(pb.DeleteAgentRequest(agent_id=first.agent_id))


@pytest.mark.parametrize("length", [5, 40_000])
async def test_inserting_is_idempotent_by_request_id(memory: Memory, length: int) -> None:
    agent = await memory.agent()
    texts = {name: f"{name} " + "word " * length for name in ("one", "two")}
    first = await memory.insert(agent.agent_id, texts["one"], request_id="one")
    second = await memory.insert(agent.agent_id, texts["two"], request_id="two")
    assert await memory.insert(agent.agent_id, texts["one"], request_id="one") == first
    assert await memory.insert(agent.agent_id, texts["two"], request_id="two") == second
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await memory.insert(agent.agent_id, "other", request_id="one")
    assert (await memory.context(agent.agent_id)).archival_count == len(first) + len(second)


async def test_white_space_makes_no_note_longer_than_a_row(memory: Memory) -> None:
    agent = await memory.agent()
    long = "begin" + " \n" * 200_000 + "end"
    await memory.insert(agent.agent_id, long, "short")
    grant = await memory.begin(agent.agent_id, "r", "x")
    await memory.commit(agent.agent_id, grant.lease, 1, "a thought", notes=[long])
    assert sorted(await memory.texts("x", agent_id=agent.agent_id)) == ["begin", "begin", "end", "end", "short"]
    with refused(INVALID):
        await memory.insert(agent.agent_id, " \n" * 200_000)


async def test_what_an_update_may_change(memory: Memory) -> None:
    agent = await memory.agent(time_zone="Europe/Berlin", context_window=8192)
    changed = await update(
        memory, agent.agent_id, "system", "model", "time_zone", "context_window", system="s" * 65_536, model="m",
        time_zone="Asia/Shanghai", context_window=4096, name="not named by the mask",
    )  # fmt: skip
    assert (changed.system, changed.model, changed.time_zone) == ("s" * 65_536, "m", "Asia/Shanghai")
    assert (changed.context_window, changed.name) == (4096, agent.name)
    assert (await update(memory, agent.agent_id, "time_zone", "context_window")).time_zone == "UTC"
    with refused(ABORTED, "ETAG_MISMATCH"):
        await update(memory, agent.agent_id, "model", model="x", etag=agent.etag)
    etag = (await get(memory, agent_id=agent.agent_id)).etag
    await memory.turn(agent.agent_id, "messages do not change the etag")
    await update(memory, agent.agent_id, "model", model="x", etag=etag)
    bad: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        ((), {}),
        (("agent_id",), {}),
        (("name", "message_count"), {"name": "x"}),
        (("name",), {"name": ""}),
        (("name",), {"name": "x" * 129}),
        (("name",), {"name": "line\nbreak"}),
        (("system",), {"system": "s" * 65_537}),
        (("model",), {"model": "m" * 257}),
        (("time_zone",), {"time_zone": "Mars/Olympus"}),
        (("time_zone",), {"time_zone": "../../etc/passwd"}),
        (("context_window",), {"context_window": 1}),
        (("context_window",), {"context_window": -1}),
    ]
    for paths, fields in bad:
        with refused(INVALID):
            await update(memory, agent.agent_id, *paths, **fields)
    assert (await get(memory, agent_id=agent.agent_id)).model == "x"
    with refused(NOT_FOUND, "AGENT_NOT_FOUND"):
        await update(memory, "agent_nobody", "model", model="x")


@pytest.mark.parametrize(
    "fields",
    [{"name": ""}, {"name": "x" * 129}, {"name": "a\nb"}, {"time_zone": "Nowhere"}, {"context_window": 1023}],
)
async def test_what_an_agent_may_not_be(memory: Memory, fields: dict[str, Any]) -> None:
    with refused(INVALID):
        await memory.agents.CreateAgent(pb.CreateAgentRequest(**{"name": "fine", **fields}))


async def test_agents_are_listed_in_order_of_creation(memory: Memory) -> None:
    made = [await memory.agent(f"agent {n}") for n in range(7)]
    found, token = [], ""
    while True:
        page = await memory.agents.ListAgents(pb.ListAgentsRequest(page_size=3, page_token=token))
        assert page.total_size == 5 + 2 * (not token)
        if not token:  # one behind us and one ahead of us goes
            for gone in (made[1], made[5]):
                await memory.agents.DeleteAgent(pb.DeleteAgentRequest(agent_id=gone.agent_id))
        found += [agent.name for agent in page.agents]
        token = page.next_page_token
        if not token:
            break
    assert found == [agent.name for agent in made if agent is not made[5]]
    with refused(INVALID):
        await memory.agents.ListAgents(pb.ListAgentsRequest(page_size=-1))
    with refused(INVALID, "INVALID_PAGE_TOKEN"):
        await memory.agents.ListAgents(pb.ListAgentsRequest(page_token="forged"))


async def test_agents_are_found_by_all_of_their_tags(memory: Memory) -> None:
    async def found(*tags: str, size: int = 0, token: str = "") -> pb.ListAgentsResponse:
        request = pb.ListAgentsRequest(tags=tags, page_size=size, page_token=token)
        return await memory.agents.ListAgents(request)  # type: ignore[no-any-return]

    for name, tags in (("a", ["work", "red"]), ("b", ["work"]), ("c", ["red", "work", "red"]), ("d", ["Work"])):
        made = await memory.agent(name, tags=tags, description=f"about {name}")
        assert (list(made.tags), made.description, made.origin) == (list(dict.fromkeys(tags)), f"about {name}", "")
    first = await found("work", size=2)
    assert ([each.name for each in first.agents], first.total_size) == (["a", "b"], 3)
    last = await found("work", size=2, token=first.next_page_token)
    assert ([each.name for each in last.agents], last.next_page_token) == (["c"], "")
    assert [each.name for each in (await found("red", "work")).agents] == ["a", "c"]
    assert not (await found("wor")).agents
    assert not (await memory.of("another-tenant").agents.ListAgents(pb.ListAgentsRequest(tags=["work"]))).agents
    with refused(INVALID, "INVALID_PAGE_TOKEN"):
        await found("red", token=first.next_page_token)
    with refused(INVALID):
        await found("x" * 65)
    b = first.agents[1]
    changed = await update(memory, b.agent_id, "tags", "description", tags=["blue", "blue"], description="")
    assert (list(changed.tags), changed.description) == (["blue"], "")
    assert [each.name for each in (await found("work")).agents] == ["a", "c"]
    with refused(INVALID):
        await update(memory, b.agent_id, "tags", tags=[str(n) for n in range(33)])
    with refused(INVALID):
        await update(memory, b.agent_id, "description", description="x" * 1_001)


async def test_a_block_is_described_by_people_and_keeps_that_until_it_goes(memory: Memory) -> None:
    edits = [
        block_pb2.BlockEdit(label="human", value="Ada", description="Who the user is. " * 50),
        block_pb2.BlockEdit(label="plain", value="x"),
    ]
    agent_id = (await memory.agent(blocks=edits)).agent_id

    async def described() -> dict[str, str]:
        blocks = (await memory.blocks.ListBlocks(block_service_pb2.ListBlocksRequest(agent_id=agent_id))).blocks
        return {block.label: block.description for block in blocks}

    async def put(**fields: Any) -> None:
        edit = block_pb2.BlockEdit(**fields)
        await memory.blocks.SetBlock(block_service_pb2.SetBlockRequest(agent_id=agent_id, block=edit))

    assert await described() == {"human": "Who the user is. " * 50, "plain": ""}
    await put(label="human", value="Grace")
    grant = await memory.begin(agent_id, "request described", "hello")
    edit = block_pb2.BlockEdit(label="human", value="Joan", description="an agent does not describe")
    request = pb.CommitStepRequest(agent_id=agent_id, lease=grant.lease, step=1, blocks=[edit])
    await memory.agents.CommitStep(request)
    await memory.end(agent_id, grant.lease)
    assert await described() == {"human": "Who the user is. " * 50, "plain": ""}
    await put(label="plain", description="日本語の説明")
    await put(label="human", description="")
    assert await described() == {"human": "", "plain": "日本語の説明"}
    with refused(INVALID):
        await put(label="plain", description="x" * 1_001)
    deletion = block_service_pb2.DeleteBlockRequest(agent_id=agent_id, label="plain")
    await memory.blocks.DeleteBlock(deletion)
    await put(label="plain", value="again")
    assert await described() == {"human": "", "plain": ""}


async def test_profiles(memory: Memory) -> None:
    persona, human = profile_pb2.PROFILE_KIND_PERSONA, profile_pb2.PROFILE_KIND_HUMAN
    long = "汉" * 65_536

    async def put(kind: Any, name: str, text: str) -> profile_pb2.Profile:
        request = profile_service_pb2.PutProfileRequest(kind=kind, name=name, text=text)
        return (await memory.profiles.PutProfile(request)).profile  # type: ignore[no-any-return]

    async def read(kind: Any, name: str) -> profile_pb2.Profile:
        request = profile_service_pb2.GetProfileRequest(kind=kind, name=name)
        return (await memory.profiles.GetProfile(request)).profile  # type: ignore[no-any-return]

    for text in ("short", long, "short again"):
        await put(persona, "pirate", text)
        assert (await read(persona, "pirate")).text == text
    with refused(NOT_FOUND, "PROFILE_NOT_FOUND"):
        await read(human, "pirate")
    await put(human, "pirate", "a human")
    for name in ("zebra", "Ahab", "mole"):
        await put(persona, name, name)
    names, token = [], ""
    while True:
        page = await memory.profiles.ListProfiles(
            profile_service_pb2.ListProfilesRequest(kind=persona, page_size=2, page_token=token)
        )
        names += [profile.name for profile in page.profiles]
        token = page.next_page_token
        if not token:
            break
    assert names == ["Ahab", "mole", "pirate", "zebra"]
    texts = [chr(97 + n) * 65_536 for n in range(6)]
    await asyncio.gather(*(put(persona, "contended", text) for text in texts))
    assert (await read(persona, "contended")).text in texts
    delete = profile_service_pb2.DeleteProfileRequest(kind=persona, name="pirate")
    await memory.profiles.DeleteProfile(delete)
    with refused(NOT_FOUND, "PROFILE_NOT_FOUND"):
        await memory.profiles.DeleteProfile(delete)
    assert (await read(human, "pirate")).text == "a human"
    for bad in (("x", ""), ("", "x"), ("x", "y" * 65_537), ("x" * 129, "x")):
        with refused(INVALID):
            await put(persona, *bad)


async def test_names_that_differ_in_their_unicode_form_alone_are_equal(memory: Memory) -> None:
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    agent, source = await memory.agent(decomposed), await memory.source(composed)
    with refused(TAKEN):
        await memory.agent(composed)
    with refused(TAKEN):
        await memory.source(decomposed)
    assert (await get(memory, name=composed)).agent_id == agent.agent_id
    found = await memory.sources.GetSource(source_service_pb2.GetSourceRequest(name=decomposed))
    assert found.source.source_id == source.source_id
    assert (await update(memory, agent.agent_id, "name", name=composed)).name == composed
    assert (await get(memory, name=decomposed)).agent_id == agent.agent_id
    await update(memory, agent.agent_id, "name", name="tea")
    assert (await memory.agent(composed)).name == composed
    persona = profile_pb2.PROFILE_KIND_PERSONA
    for name in (decomposed, composed):
        await memory.profiles.PutProfile(profile_service_pb2.PutProfileRequest(kind=persona, name=name, text=name))
    listed = await memory.profiles.ListProfiles(profile_service_pb2.ListProfilesRequest(kind=persona))
    assert [(profile.name, profile.text) for profile in listed.profiles] == [(composed, composed)]
    await memory.profiles.DeleteProfile(profile_service_pb2.DeleteProfileRequest(kind=persona, name=decomposed))
