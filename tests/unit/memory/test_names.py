"""Names that an earlier version stored as they were given, without a common form of Unicode."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
from memgpt_memory.records import Names, name_key
from memgpt_memory.records._model import Record
from memgpt_memory.records._records import key_of
from memgpt_runtime.context import background
from memgpt_runtime.errors import AlreadyExists
from memgpt_runtime.principal import Principal

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
FORMER = key_of("name", "t", "agent", DECOMPOSED)


class Rows:
    """Records in a dictionary."""

    def __init__(self, *records: Record) -> None:
        self.by_id = {record.id: record for record in records}

    async def get(self, id_: str) -> Record | None:
        return self.by_id.get(id_)

    async def put(self, record: Record) -> None:
        self.by_id[record.id] = record

    async def delete(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            self.by_id.pop(id_, None)


def stored(owner: str) -> tuple[Rows, Names]:
    rows: Any = Rows(Record(FORMER, "name", "t", owner, 0, json.dumps({"id": owner})))
    return rows, Names(rows)


async def exists(_: str) -> bool:
    return True


async def missing(_: str) -> bool:
    return False


async def test_an_owner_keeps_the_exact_name_that_it_was_given() -> None:
    _, names = stored("agent_a")
    with background("test", principal=Principal("t")):
        async with names.claim("t", "agent", COMPOSED, "agent_b", exists):
            pass
        with pytest.raises(AlreadyExists):
            async with names.claim("t", "agent", DECOMPOSED, "agent_c", exists):
                pass
    assert await names.find("t", "agent", DECOMPOSED) == "agent_a"
    assert await names.find("t", "agent", COMPOSED) == "agent_b"


async def test_a_name_that_was_given_up_goes_to_its_next_owner() -> None:
    rows, names = stored("agent_a")
    with background("test", principal=Principal("t")):
        async with names.claim("t", "agent", DECOMPOSED, "agent_b", missing):
            pass
    for name in (COMPOSED, DECOMPOSED):
        assert await names.find("t", "agent", name) == "agent_b"
    assert list(rows.by_id) == [name_key("t", "agent", COMPOSED)]


async def test_a_released_name_leaves_no_row() -> None:
    rows, names = stored("agent_a")
    await names.release("t", "agent", DECOMPOSED, "agent_a", missing)
    assert rows.by_id == {}
