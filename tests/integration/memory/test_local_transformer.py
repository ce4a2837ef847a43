"""A store whose embeddings are a local transformer's."""

from __future__ import annotations

from pathlib import Path

import pytest
from memgpt_runtime.errors import FailedPrecondition

from tests.integration.memory.conftest import Serve
from tests.integration.memory.test_reembedding import move, store_of
from tests.support.tiny_transformer import write_transformer

WORDS = ["query", "passage", ":", "the", "tide", "comes", "in", "moon", "rises", "bread", "recipe"]
NOTES = ["the tide comes in", "the moon rises", "bread recipe"]


async def test_it_is_searched_and_refused_to_other_weights(serve: Serve, milvus_lite_uri: str, tmp_path: Path) -> None:
    folder = write_transformer(tmp_path / "tiny", WORDS)
    other = write_transformer(tmp_path / "other" / "tiny", WORDS, seed=2)
    moved = tmp_path / "elsewhere"
    async with serve(milvus_lite_uri, embedding="onnx", embedding_folder=folder) as memory:
        agent_id = (await memory.agent()).agent_id
        await memory.insert(agent_id, *NOTES)
        page = await memory.page("tide comes", agent_id=agent_id)
        assert page.hits[0].passage.text == NOTES[0]
        store = await store_of(memory)
        assert (store.embedding_model[:5], store.embedding_dimension) == ("tiny-", 16)
    with pytest.raises(FailedPrecondition, match="was made with the embedding model tiny-"):
        async with serve(milvus_lite_uri, embedding="onnx", embedding_folder=other):
            pass
    with pytest.raises(FailedPrecondition, match="was made with the embedding model tiny-"):
        async with serve(milvus_lite_uri):
            pass
    (moved / "tiny").parent.mkdir()
    folder.rename(moved / "tiny")
    async with serve(milvus_lite_uri, embedding="onnx", embedding_folder=moved / "tiny") as memory:
        await memory.agent()


async def test_a_store_moves_to_it(serve: Serve, milvus_lite_uri: str, tmp_path: Path) -> None:
    folder = write_transformer(tmp_path / "tiny", WORDS)
    file = tmp_path / "config.toml"
    async with serve(milvus_lite_uri) as memory:
        agent_id = (await memory.agent()).agent_id
        await memory.insert(agent_id, *NOTES)
        file.write_text(f"[memory]\nreembed = 'onnx'\nreembed_folder = '{folder}'\n")
        await move(memory)
        assert (await store_of(memory)).embedding_dimension == 16
        page = await memory.page("moon", agent_id=agent_id)
        assert page.hits[0].passage.text == NOTES[1]
    async with serve(milvus_lite_uri, embedding="onnx", embedding_folder=folder) as memory:
        page = await memory.page("moon", agent_id=agent_id)
        assert page.hits[0].passage.text == NOTES[1]
