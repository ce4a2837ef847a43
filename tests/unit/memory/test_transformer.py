"""Local transformers: vectors, prefixes, long texts, the identity of a model, and folders without a usable one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from memgpt.config import ConfigError
from memgpt_memory.config import MemorySettings
from memgpt_memory.embedding import UnusableFolderError, load_transformer
from memgpt_memory.embedding._transformer_folder import InputFormat, open_folder
from memgpt_memory.service import model_choice

from tests.support.tiny_transformer import state_length, write_transformer

WORDS = ["query", "passage", ":", "the", "tide", "comes", "in", "moon", "rises", "bread", "recipe", "."]


def load(folder: Path, **options: str):
    return load_transformer(folder, threads=1, **options)


async def test_texts_that_share_words_are_similar(tmp_path):
    model = load(write_transformer(tmp_path / "tiny", WORDS))
    vectors = await model.embed(["the tide comes in", "the moon rises", "bread recipe"])
    query = await model.embed(["tide"], query=True)
    assert model.dimension == 16
    assert vectors.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)
    assert int(np.argmax(query @ vectors.T)) == 0
    assert (await model.embed([])).shape == (0, 16)
    await model.close()


async def test_a_vector_does_not_depend_on_the_texts_beside_it(tmp_path):
    model = load(write_transformer(tmp_path / "tiny", WORDS))
    texts = ["the tide", "", "the moon rises . " * 90, "一个🏔️\x00", "bread"] * 3
    together = await model.embed(texts)
    for number, text in enumerate(texts):
        np.testing.assert_array_equal(together[number], (await model.embed([text]))[0])


async def test_a_text_without_tokens_is_similar_to_nothing(tmp_path):
    folder = write_transformer(tmp_path / "tiny", WORDS)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": None}))  # no tokens around a text
    model = load(folder)
    assert not (await model.embed(["", "the tide"]))[0].any()


async def test_a_long_text_is_the_mean_of_its_parts(tmp_path):
    folder = write_transformer(tmp_path / "tiny", WORDS)
    state_length(folder, 10)
    model = load(folder)
    end = await model.embed(["the moon rises"])
    short, long = await model.embed(["the tide " * 4, "the tide " * 4 + "the moon rises . " * 10])
    assert float(long @ end[0]) > float(short @ end[0])


async def test_prefixes_precede_queries_and_passages(tmp_path):
    folder = write_transformer(tmp_path / "e5-tiny", WORDS)
    prefixed, plain = load(folder), load(folder, query_prefix="", passage_prefix="")
    for kind, query in (("query", True), ("passage", False)):
        ours = await prefixed.embed(["the tide"], query=query)
        np.testing.assert_array_equal(ours, await plain.embed([f"{kind}: the tide"]))
    np.testing.assert_array_equal(await plain.embed(["tide"], query=True), await plain.embed(["tide"]))


@pytest.mark.parametrize("inputs", [("input_ids",), ("input_ids", "attention_mask")])
@pytest.mark.parametrize("pooled", [True, False])
async def test_models_take_different_inputs_and_return_tokens_or_texts(tmp_path, inputs, pooled):
    model = load(write_transformer(tmp_path / "tiny", WORDS, inputs=inputs, pooled=pooled))
    whole = load(write_transformer(tmp_path / "whole", WORDS))
    np.testing.assert_array_equal(await model.embed(["the tide"]), await whole.embed(["the tide"]))


async def test_the_first_tokens_vector_may_stand_for_the_text(tmp_path):
    folder = write_transformer(tmp_path / "tiny", WORDS)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    tide, moon = await load(folder).embed(["tide", "moon"])
    np.testing.assert_array_equal(tide, moon)


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("all-MiniLM-L6-v2", InputFormat()),
        ("multilingual-e5-small", InputFormat("query: ", "passage: ")),
        ("bge-small-en-v1.5", InputFormat("Represent this sentence for searching relevant passages: ", "", "cls")),
        ("bge-small-zh-v1.5", InputFormat("为这个句子生成表示以用于检索相关文章：", "", "cls")),
        ("bge-m3", InputFormat("", "", "cls")),
        ("gte-small", InputFormat()),
        (
            "snowflake-arctic-embed-s",
            InputFormat("Represent this sentence for searching relevant passages: ", "", "cls"),
        ),
        ("nomic-embed-text-v1.5", InputFormat("search_query: ", "search_document: ")),
    ],
)
def test_families_have_their_usage(tmp_path, name, usage):
    folder = tmp_path / name
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model_quantized.onnx").touch()
    (folder / "tokenizer.json").write_text("{}")
    found = open_folder(folder)
    assert (found.name, found.input_format, found.max_tokens) == (name, usage, 512)


def test_the_folders_own_prompts_precede_those_of_its_family(tmp_path):
    folder = write_transformer(tmp_path / "e5", WORDS)
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "Q ", "document": "D "}})
    )
    assert open_folder(folder).input_format == InputFormat("Q ", "D ")
    assert open_folder(folder, query_prefix="").input_format == InputFormat("", "D ")


def test_the_identity_is_the_one_that_stores_keep(tmp_path):
    folder = tmp_path / "e5-x"
    folder.mkdir()
    (folder / "model.onnx").touch()
    (folder / "tokenizer.json").write_text("{}")
    assert open_folder(folder).identity() == "e5-x-4d9f8952"


def test_the_identity_is_that_of_the_files_and_their_usage(tmp_path):
    first = load(write_transformer(tmp_path / "one" / "tiny", WORDS))
    assert first.model.startswith("tiny-")
    assert load(write_transformer(tmp_path / "two" / "tiny", WORDS)).model == first.model
    others = [
        load(write_transformer(tmp_path / "three" / "tiny", WORDS, seed=2)),
        load(write_transformer(tmp_path / "four" / "tiny", WORDS[::-1])),
        load(tmp_path / "one" / "tiny", query_prefix="query: "),
    ]
    assert len({first.model, *(each.model for each in others)}) == 4


def _no_model(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def _two_models(folder: Path) -> None:
    (folder / "model_int8.onnx").touch()


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _bad_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a model")


def _bad_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": 7}')


def _bad_json(folder: Path) -> None:
    (folder / "config_sentence_transformers.json").write_text("{")


def _other_vocabulary(folder: Path) -> None:
    write_transformer(folder.with_name("other"), WORDS[:-3])
    (folder / "model.onnx").write_bytes((folder.with_name("other") / "model.onnx").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_no_model, "no file that ends in .onnx"),
        (_two_models, "several files"),
        (_no_tokenizer, "no tokenizer.json"),
        (_bad_model, "not a usable ONNX model"),
        (_bad_tokenizer, "not a usable tokenizer"),
        (_bad_json, "not readable as JSON"),
        (_other_vocabulary, "not a usable text encoder"),
    ],
)
def test_a_folder_without_a_usable_model_names_the_setting(tmp_path, spoil, said):
    folder = write_transformer(tmp_path / "tiny", WORDS)
    spoil(folder)
    settings = MemorySettings.model_validate({"embedding": "onnx", "embedding_folder": folder}).embedding_settings
    with pytest.raises(ConfigError, match=f"memory.embedding_folder: .*{said}"):
        model_choice(settings)


def test_a_model_of_something_else_is_refused(tmp_path):
    folder = write_transformer(tmp_path / "tiny", WORDS, inputs=("input_ids", "pixel_values"))
    with pytest.raises(UnusableFolderError, match="needs pixel_values"):
        load(folder)


def test_a_missing_runtime_names_the_extra(tmp_path, monkeypatch):
    folder = write_transformer(tmp_path / "tiny", WORDS)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UnusableFolderError, match=r"memgpt-milvus\[onnx\]"):
        load(folder)


def test_the_setting_needs_a_folder():
    with pytest.raises(ValueError, match="needs embedding_folder"):
        MemorySettings.model_validate({"embedding": "onnx"})
