"""Messages and notes that are forgotten: gone from every answer at once, and from the files after a compaction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1 import message_pb2, store_service_pb2
from memgpt.memory.v1 import quota_service_pb2 as quotas_pb
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb

from tests.integration.memory.client import PRECONDITION, UNAVAILABLE, Memory, refused, thought, user
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import failing_deletes
from tests.integration.memory.test_shared_blocks import files_with

SECRET = "The vault code is tangerine-7719."


def calls(name: str, call_id: str, **arguments: Any) -> message_pb2.NewMessage:
    call = message_pb2.FunctionCall(call_id=call_id, name=name, arguments=json.dumps(arguments, ensure_ascii=False))
    return message_pb2.NewMessage(role=message_pb2.ROLE_ASSISTANT, text="I call", function_call=call)


def result(call_id: str, message: str) -> message_pb2.NewMessage:
    text = json.dumps({"status": "OK", "message": message}, ensure_ascii=False)
    return message_pb2.NewMessage(role=message_pb2.ROLE_TOOL, text=text, call_id=call_id)


async def counted(memory: Memory) -> list[int]:
    """The messages of each agent, as the tenant's usage counts them."""
    return [one.message_count for one in (await memory.quotas.GetUsage(quotas_pb.GetUsageRequest())).agents]


async def forget(memory: Memory, agent_id: str, *sequences: int) -> int:
    request = recall_pb.ForgetMessagesRequest(agent_id=agent_id, sequences=sequences)
    return (await memory.recall.ForgetMessages(request)).forgotten_count  # type: ignore[no-any-return]


async def search(memory: Memory, agent_id: str, **fields: Any) -> recall_pb.SearchMessagesResponse:
    request = recall_pb.SearchMessagesRequest(agent_id=agent_id, **fields)
    return await memory.recall.SearchMessages(request)  # type: ignore[no-any-return]


async def talked(memory: Memory) -> str:
    """An agent with three user messages and thoughts about each: sequences 0 to 5."""
    agent_id = (await memory.agent()).agent_id
    for text in ("about tea", SECRET, "about rain"):
        await memory.turn(agent_id, text, f"thinking {text[:5]}")
    return agent_id


async def test_a_forgotten_message_is_in_no_answer(memory: Memory) -> None:
    agent_id = await talked(memory)
    semantic = {"query": "vault code", "mode": recall_pb.RECALL_MODE_SEMANTIC}
    assert SECRET in [m.text for m in (await search(memory, agent_id, **semantic)).messages]
    assert (await search(memory, agent_id, query="tangerine")).total_size == 1
    assert await forget(memory, agent_id, 2) == 1
    assert await forget(memory, agent_id, 2, 99) == 0
    for found in (
        await memory.history(agent_id),
        (await memory.context(agent_id)).messages,
        (await search(memory, agent_id, **semantic)).messages,
        (await search(memory, agent_id, query="tangerine")).messages,
        (await search(memory, agent_id, include_rewound=True)).messages,
    ):
        assert SECRET not in [message.text for message in found]
    assert [m.sequence for m in await memory.history(agent_id)] == [0, 1, 3, 4, 5]
    assert (await memory.context(agent_id)).agent.message_count == 5
    assert await counted(memory) == [5]


async def test_page_tokens_stay_valid(memory: Memory) -> None:
    agent_id = await talked(memory)
    await forget(memory, agent_id, 0)
    first = await memory.recall.ListMessages(recall_pb.ListMessagesRequest(agent_id=agent_id, page_size=2))
    assert [m.sequence for m in first.messages] == [5, 4]
    await forget(memory, agent_id, 3)
    request = recall_pb.ListMessagesRequest(agent_id=agent_id, page_size=2, page_token=first.next_page_token)
    second = await memory.recall.ListMessages(request)
    assert [m.sequence for m in second.messages] == [2, 1]
    assert second.next_page_token == ""
    page = await search(memory, agent_id, page_size=1)
    await forget(memory, agent_id, 4)
    following = await search(memory, agent_id, page_size=5, page_token=page.next_page_token)
    assert [m.sequence for m in (*page.messages, *following.messages)] == [5, 2, 1]


async def test_a_call_takes_its_result_with_it_and_a_result_its_call(memory: Memory) -> None:
    agent_id = (await memory.agent()).agent_id
    grant = await memory.begin(agent_id, uuid4().hex, "hello")
    for step, call_id in enumerate(("a", "b"), 1):
        messages = [calls("send_message", call_id, message=SECRET), result(call_id, "None")]
        await memory.agents.CommitStep(
            state_pb.CommitStepRequest(agent_id=agent_id, lease=grant.lease, step=step, messages=messages)
        )
    with refused(PRECONDITION):
        await forget(memory, agent_id, 1)
    await memory.end(agent_id, grant.lease)
    assert await forget(memory, agent_id, 1) == 2
    assert await forget(memory, agent_id, 4) == 2
    assert [m.sequence for m in await memory.history(agent_id)] == [0]
    replay = [
        r
        async for r in memory.agents.ReadTurn(
            state_pb.ReadTurnRequest(agent_id=agent_id, request_id=grant.turn.request_id, after_step=-1)
        )
    ]
    assert SECRET not in str(replay)


async def test_copies_are_forgotten_with_the_original_and_the_other_way_round(memory: Memory) -> None:
    for chosen in (0, -1):
        agent_id = (await memory.agent()).agent_id
        await memory.turn(agent_id, SECRET, "thinking")
        grant = await memory.begin(agent_id, uuid4().hex, retry=True)
        await memory.commit(agent_id, grant.lease, 1, "thinking again")
        await memory.end(agent_id, grant.lease)
        holding = [m.sequence for m in await memory.history(agent_id) if m.text == SECRET]
        assert len(holding) == 2
        assert await forget(memory, agent_id, holding[chosen]) == 2
        assert SECRET not in str(await memory.history(agent_id))


async def test_a_note_takes_the_messages_that_hold_its_text(memory: Memory) -> None:
    agent_id = (await memory.agent()).agent_id
    (note,) = await memory.insert(agent_id, SECRET)
    (other,) = await memory.insert(agent_id, "Tea is green.")
    grant = await memory.begin(agent_id, uuid4().hex, f"Remember: {SECRET}")
    hits = [{"timestamp": "now", "content": "Tea is green."}, {"timestamp": "now", "content": SECRET}]
    steps = [
        [calls("archival_memory_insert", "a", content=SECRET), result("a", "None")],
        [
            calls("archival_memory_search", "b", query="code"),
            result("b", f"Showing 2 of 2: {json.dumps(hits)}"),
        ],
        [calls("archival_memory_search", "c", query="tea"), result("c", "Showing 0")],
    ]
    for step, messages in enumerate(steps, 1):
        await memory.agents.CommitStep(
            state_pb.CommitStepRequest(agent_id=agent_id, lease=grant.lease, step=step, messages=messages)
        )
    await memory.end(agent_id, grant.lease)
    request = archival_pb.ForgetPassagesRequest(agent_id=agent_id, passage_ids=[note])
    done = await memory.archive.ForgetPassages(request)
    assert (done.deleted_count, done.forgotten_message_count) == (1, 4)
    assert [m.sequence for m in await memory.history(agent_id)] == [0, 5, 6], "what the user said stays"
    assert await memory.texts("code", agent_id=agent_id) == ["Tea is green."]
    again = await memory.archive.ForgetPassages(request)
    assert (again.deleted_count, again.forgotten_message_count) == (0, 0)
    assert await memory.delete(agent_id, other) == 1


async def test_an_export_is_dense_and_an_import_of_it_is_the_same(memory: Memory) -> None:
    agent_id = (await memory.agent()).agent_id
    await memory.turn(agent_id, "one", "first thought")
    grant = await memory.begin(agent_id, uuid4().hex, retry=True)
    await memory.end(agent_id, grant.lease)
    await memory.turn(agent_id, SECRET, "two")
    await memory.turn(agent_id, "three", "four")
    secret = next(m.sequence for m in await memory.history(agent_id) if m.text == SECRET)
    await forget(memory, agent_id, 1, secret)
    pieces = [p.piece async for p in memory.agents.ExportAgent(state_pb.ExportAgentRequest(agent_id=agent_id))]

    async def stream() -> Any:
        for number, piece in enumerate(pieces):
            yield state_pb.ImportAgentRequest(piece=piece, name="" if number else f"copy {uuid4().hex}")

    copy = (await memory.agents.ImportAgent(stream())).agent.agent_id
    original, copied = await memory.history(agent_id), await memory.history(copy)
    assert [m.text for m in copied] == [m.text for m in original]
    assert [m.sequence for m in copied] == list(range(len(original)))
    assert [m.HasField("rewind") for m in copied] == [m.HasField("rewind") for m in original]
    assert [m.text for m in (await memory.context(copy)).messages] == [
        m.text for m in (await memory.context(agent_id)).messages
    ]


async def test_no_file_has_the_text_after_a_compaction(serve: Serve, tmp_path: Path) -> None:
    folder, marker = tmp_path / "store", b"tangerine"
    folder.mkdir()
    async with serve(str(folder / "m.db")) as memory:
        agent_id = await talked(memory)
        (note,) = await memory.insert(agent_id, f"Noted: {SECRET}")
        await search(memory, agent_id, query="vault", mode=recall_pb.RECALL_MODE_SEMANTIC)
        await memory.texts("vault", agent_id=agent_id)
        assert files_with(folder, marker)
        with failing_deletes(memory.core().store, "memgpt_messages") as failed, refused(UNAVAILABLE):
            await forget(memory, agent_id, 2)
        assert failed
        assert SECRET not in str(await memory.history(agent_id)), "hidden although its row is still there"
        await memory.archive.ForgetPassages(archival_pb.ForgetPassagesRequest(agent_id=agent_id, passage_ids=[note]))
        await memory.store.Compact(store_service_pb2.CompactRequest())
        assert files_with(folder, marker) == []
    assert files_with(folder, marker) == []


async def test_an_undo_does_not_bring_a_forgotten_input_back(memory: Memory) -> None:
    agent_id = (await memory.agent(messages=[user("boot"), thought("booted")])).agent_id
    await memory.turn(agent_id, "one", "first")
    await memory.turn(agent_id, SECRET, "second")
    await forget(memory, agent_id, 4)
    grant = await memory.begin(agent_id, uuid4().hex, retry=True)
    await memory.end(agent_id, grant.lease)
    assert SECRET not in str(await memory.history(agent_id))
