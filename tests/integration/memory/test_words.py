"""What archival and recall memory find by words, in any script, and after the tokenizer has changed."""

from __future__ import annotations

import asyncio
import json

import pytest
from memgpt.memory.v1 import recall_memory_service_pb2 as recall
from memgpt.memory.v1.passage_pb2 import SEARCH_MODE_TEXT
from memgpt_memory import fulltext
from memgpt_memory.maintenance import reindexing
from memgpt_memory.maintenance.identity import Identity
from memgpt_memory.passages import _passages
from memgpt_memory.records import Records
from memgpt_memory.store import layout
from memgpt_memory.store.lite import disk
from memgpt_runtime.errors import Unavailable

from tests.integration.memory.client import Memory
from tests.integration.memory.conftest import Serve
from tests.integration.memory.test_recall import said

NOTES = {
    "cat": "私は猫が好きです。",
    "water": "물을 마신다. 학교에서 공부한다.",
    "cake": "Greta's birthday 🎂 was fun 👍🏽",
    "cafe": "Meet me at the Café Größenwahn",
    "istanbul": "Flight to İSTANBUL",
    "cpp": "He writes C++17 only",
    "csharp": "She prefers C# and ASP.NET",
    "net": "A fishing net, grade B",
    "invoice": "Invoice 00042 is unpaid",
    "agent": "Agent 007 has 42 cars",
    "mail": "Write to ann.lee@example.org",
    "snake": "Call parse_http_header first",
    "camel": "Call getUserName first",
}


async def found(memory: Memory, agent_id: str, query: str) -> list[str]:
    """The names of the notes found by words, best first."""
    hits = await memory.pages(query, size=50, agent_id=agent_id, mode=SEARCH_MODE_TEXT)
    names = {text: name for name, text in NOTES.items()}
    return [names[hit.passage.text] for hit in hits]


async def test_words_of_all_kinds_are_found(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
        await memory.insert(agent.agent_id, *NOTES.values())
        expected = {
            "猫": ["cat"],
            "好き": ["cat"],
            "물": ["water"],
            "학교": ["water"],
            "🎂": ["cake"],
            "👍": ["cake"],
            "cafe grossenwahn": ["cafe"],
            "CAFE\u0301": ["cafe"],
            "istanbul": ["istanbul"],
            "c++": ["cpp"],
            "C#": ["csharp"],
            ".NET": ["csharp"],
            "00042": ["invoice"],
            "007": ["agent"],
            "httpHeader": ["snake"],
            "parseHttpHeader": ["snake"],
            "user name": ["camel"],
            "get_user_name": ["camel"],
        }
        assert {query: await found(memory, agent.agent_id, query) for query in expected} == expected
        assert {*await found(memory, agent.agent_id, "42")} == {"invoice", "agent"}
        assert (await found(memory, agent.agent_id, "ann.lee@example.org"))[0] == "mail"


async def test_recall_ignores_diacritics(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent(messages=[said(text) for text in NOTES.values()])
        for query, name in {"cafe": "cafe", "istanbul": "istanbul", "猫": "cat", "c++": "cpp", "🎂": "cake"}.items():
            page = await memory.recall.SearchMessages(
                recall.SearchMessagesRequest(agent_id=agent.agent_id, query=query)
            )
            assert [json.loads(message.text)["message"] for message in page.messages] == [NOTES[name]]


async def test_an_older_store_gets_new_words_at_start(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passages and indexed messages are found by the new words, with their vectors and revisions as before."""
    similar = recall.SearchMessagesRequest(query="cafe", mode=recall.RECALL_MODE_HYBRID)
    with monkeypatch.context() as older:
        older.setattr(_passages, "words_of", lambda text: text.casefold().split())
        older.setattr(fulltext, "VERSION", 1)
        async with serve(milvus_lite_uri) as memory:
            agent = await memory.agent(messages=[said(text) for text in NOTES.values()])
            await memory.insert(agent.agent_id, *NOTES.values())
            assert await found(memory, agent.agent_id, "cafe") == []
            similar.agent_id = agent.agent_id
            await memory.recall.SearchMessages(similar)
            before = await memory.pages("a feline", size=50, agent_id=agent.agent_id)
    with monkeypatch.context() as full:  # which does not keep Memory from starting
        full.setattr(disk, "ROOM_BYTES", 1 << 60)
        async with serve(milvus_lite_uri) as memory:
            assert await found(memory, agent.agent_id, "cafe") == []
    async with serve(milvus_lite_uri) as memory:
        assert await found(memory, agent.agent_id, "cafe") == ["cafe"]
        core = memory.core()
        identity = await Identity.read(Records(core.store))
        assert identity is not None
        assert identity.tokenizer == fulltext.VERSION
        assert await found(memory, agent.agent_id, "猫") == ["cat"]
        after = await memory.pages("a feline", size=50, agent_id=agent.agent_id)
        assert {(hit.passage.passage_id, hit.dense_score) for hit in after} == {
            (hit.passage.passage_id, hit.dense_score) for hit in before
        }
        page = await memory.recall.SearchMessages(similar)
        assert json.loads(page.messages[0].text)["message"] == NOTES["cafe"]
        assert any("passages" in name for name in core.store.rows_written)
    async with serve(milvus_lite_uri) as memory:  # and only once
        assert await found(memory, agent.agent_id, "cafe") == ["cafe"]
        assert not any("passages" in name for name in memory.core().store.rows_written)


async def test_new_words_stop_when_another_process_has_the_store(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = asyncio.Event()

    def indexed_words(_: str) -> str:
        lost.set()
        return "not to be written"

    monkeypatch.setattr(reindexing, "indexed_words", indexed_words)
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
        await memory.insert(agent.agent_id, *NOTES.values())
        core = memory.core()
        identity = await Identity.read(Records(core.store))
        assert identity is not None
        passages = layout.passages(*identity.model, full_text=True)
        message_index = layout.message_index(*identity.model, full_text=True)
        with pytest.raises(Unavailable, match="another Memory process has taken over"):
            await reindexing.reindex(core.store, passages, message_index, lost)
        assert await found(memory, agent.agent_id, "cafe") == ["cafe"]
        assert await found(memory, agent.agent_id, "written") == []
