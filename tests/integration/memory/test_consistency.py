"""What a process reads on a Milvus server behind writes whose times it does not know."""

from __future__ import annotations

from typing import Any

import pytest
from memgpt_memory.store.layout import MESSAGES, NO_VECTOR, RECORDS
from memgpt_memory.store.milvus import Milvus
from memgpt_runtime.errors import Unavailable
from pymilvus.exceptions import MilvusException

pytestmark = pytest.mark.milvus_server

ROUNDS = 20


def message(number: int) -> dict[str, object]:
    filling = {"agent": "a", "sequence": number, "part": 0, "created": 1, "head": "", "none": NO_VECTOR}
    return {"id": f"a-m{number}", "text": "Hello!", **filling}


async def test_a_process_reads_all_that_was_written_before_it_began(milvus_server_uri: str) -> None:
    # By another name of the host, pymilvus keeps the times of the writes apart, as between two processes.
    former = Milvus(milvus_server_uri.replace("127.0.0.1", "localhost"))
    await former.open([RECORDS, MESSAGES])
    for number in range(ROUNDS):
        latter = Milvus(milvus_server_uri)
        await latter.open([RECORDS, MESSAGES])
        await former.upsert(MESSAGES, [message(number)])
        record = {"id": "holder", "kind": "store", "tenant": "", "parent": "", "created": 1, "body": "{}"}
        await latter.upsert(RECORDS, [{**record, "none": NO_VECTOR}])
        assert latter._consistency(MESSAGES)["consistency_level"] == "Customized"
        assert await latter.get(MESSAGES, [f"a-m{number}"], [])
        assert len(await latter.query(MESSAGES, 'agent == "a"', [])) == number + 1
        await latter.close()
    await former.close()


async def test_a_read_behind_a_delete_waits_for_it(milvus_server_uri: str) -> None:
    store = Milvus(milvus_server_uri)
    await store.open([RECORDS, MESSAGES])
    for number in range(ROUNDS):
        await store.upsert(MESSAGES, [message(number)])
        await store.delete(MESSAGES, [f"a-m{number}"])
        assert not await store.get(MESSAGES, [f"a-m{number}"], [])
    await store.close()


async def test_a_read_behind_a_write_that_failed_tells_whether_it_happened(
    milvus_server_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Milvus(milvus_server_uri)
    other = Milvus(milvus_server_uri.replace("127.0.0.1", "localhost"))
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
        assert await store.get(MESSAGES, [f"a-m{number}"], [])
    await store.close()
    await other.close()
