"""What a process reads on a Milvus server behind writes whose times it does not know."""

from __future__ import annotations

from typing import Any

import pytest
from memgpt_memory.store.filters import Equals
from memgpt_memory.store.layout import MESSAGES, RECORDS
from memgpt_memory.store.rows import Key, MessageRow, RecordRow
from memgpt_memory.store.server.store import ServerStore
from memgpt_runtime.errors import Unavailable
from pymilvus.exceptions import MilvusException

pytestmark = pytest.mark.milvus_server

ROUNDS = 20


def message(number: int) -> MessageRow:
    return MessageRow(f"a-m{number}", agent="a", sequence=number, part=0, created=1, head="", text="Hello!")


def new_store(uri: str) -> ServerStore:
    return ServerStore(uri, token="", timeout=10.0, observe=lambda *_: None)


async def test_a_process_reads_all_that_was_written_before_it_began(milvus_server_uri: str) -> None:
    # By another name of the host, pymilvus keeps the times of the writes apart, as between two processes.
    former = new_store(milvus_server_uri.replace("127.0.0.1", "localhost"))
    await former.open([RECORDS, MESSAGES])
    for number in range(ROUNDS):
        latter = new_store(milvus_server_uri)
        await latter.open([RECORDS, MESSAGES])
        await former.upsert(MESSAGES, [message(number)])
        await latter.upsert(RECORDS, [RecordRow("holder", "store", tenant="", parent="", created=1, body="{}")])
        assert latter._consistency.for_read(MESSAGES.name, strong=False)["consistency_level"] == "Customized"
        assert await latter.get(MESSAGES, [f"a-m{number}"], Key)
        assert len(await latter.query(MESSAGES, Equals("agent", "a"), Key)) == number + 1
        await latter.close()
    await former.close()


async def test_a_read_behind_a_delete_waits_for_it(milvus_server_uri: str) -> None:
    store = new_store(milvus_server_uri)
    await store.open([RECORDS, MESSAGES])
    for number in range(ROUNDS):
        await store.upsert(MESSAGES, [message(number)])
        await store.delete(MESSAGES, [f"a-m{number}"])
        assert not await store.get(MESSAGES, [f"a-m{number}"], Key)
    await store.close()


async def test_a_read_behind_a_write_that_failed_tells_whether_it_happened(
    milvus_server_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store(milvus_server_uri)
    other = new_store(milvus_server_uri.replace("127.0.0.1", "localhost"))
    for one in (store, other):
        await one.open([RECORDS, MESSAGES])

    def write_and_fail(*arguments: Any) -> None:
        other._write_now(*arguments)
        raise MilvusException(message="the answer was lost")

    for number in range(ROUNDS):
        await store.upsert(MESSAGES, [message(1_000)])
        with monkeypatch.context() as patch:
            patch.setattr(store, "_write_now", write_and_fail)
            with pytest.raises(Unavailable):
                await store.upsert(MESSAGES, [message(number)])
        assert await store.get(MESSAGES, [f"a-m{number}"], Key)
    await store.close()
    await other.close()
