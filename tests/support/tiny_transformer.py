"""A transformer's folder as small as can be: a table of random vectors behind a tokenizer of whole words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from tests.support.missing import missing_tool

_SPECIAL = ("[UNK]", "[CLS]", "[SEP]")


def write_transformer(
    folder: Path,
    words: Sequence[str],
    *,
    dimension: int = 16,
    seed: int = 1,
    inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids"),
    pooled: bool = False,
) -> Path:
    """Write a model and its tokenizer.

    Args:
        folder: Where to; it is created.
        words: The words that it knows.
        dimension: Dimensions of its vectors.
        seed: Seed of its vectors.
        inputs: Names of its inputs; only the first one matters to the result.
        pooled: Whether it returns a vector for each text, and not for each token.
    """
    try:
        import onnxruntime  # noqa: F401 - what reads the model
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        missing_tool("onnx or onnxruntime has no package for this machine")
    folder.mkdir(parents=True)
    table = np.random.default_rng(seed).normal(size=(len(_SPECIAL) + len(words), dimension)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", inputs[0]], ["last_hidden_state"])]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", dimension])
    if pooled:
        nodes.append(helper.make_node("ReduceMean", ["last_hidden_state", "axes"], ["sentence_embedding"], keepdims=0))
        output = helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", dimension])
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in inputs],
        [output],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.asarray([1], dtype=np.int64), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    tokenizer = Tokenizer(WordLevel({word: id_ for id_, word in enumerate((*_SPECIAL, *words))}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def state_length(folder: Path, tokens: int) -> None:
    """State how many tokens the model takes at once."""
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": tokens}))
