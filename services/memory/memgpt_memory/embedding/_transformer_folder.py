"""The folder of a local transformer: which files it has, and how the model wants its texts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAX_TOKENS = 512
_BLOCK = 1 << 20
_GENERIC = re.compile(r"(model|encoder)([-_](q|q?u?int8|quantized|optimized|fp16|avx2|avx512|vnni|arm64))*", re.I)
"""Names of files that say nothing about the model; the folder's name does then."""

_BGE_ENGLISH = "Represent this sentence for searching relevant passages: "
_BGE_CHINESE = "为这个句子生成表示以用于检索相关文章："


class UnusableFolderError(Exception):
    """A folder does not hold a usable model; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """How a model wants its texts.

    Attributes:
        query_prefix: Text before each query.
        passage_prefix: Text before each passage.
        pooling: ``mean`` of the tokens' vectors, or ``cls`` for that of the first token.
    """

    query_prefix: str = ""
    passage_prefix: str = ""
    pooling: str = "mean"


_FAMILIES: tuple[tuple[str, InputFormat], ...] = (
    (r"\be5\b", InputFormat("query: ", "passage: ")),
    (r"\bbge\b.*\bzh\b", InputFormat(_BGE_CHINESE, pooling="cls")),
    (r"\bbge\b.*\bm3\b", InputFormat(pooling="cls")),
    (r"\bbge\b", InputFormat(_BGE_ENGLISH, pooling="cls")),
    (r"\barctic embed\b", InputFormat(_BGE_ENGLISH, pooling="cls")),
    (r"\bnomic embed\b", InputFormat("search_query: ", "search_document: ")),
)
"""Formats by a pattern of the model's name, from the models' cards; all other models get `InputFormat()`."""


@dataclass(frozen=True, slots=True)
class TransformerFolder:
    """A model in a folder.

    Attributes:
        name: The model's name.
        model: The ONNX file.
        tokenizer: The ``tokenizer.json``.
        input_format: How it wants its texts.
        max_tokens: Tokens that it takes at once.
    """

    name: str
    model: Path
    tokenizer: Path
    input_format: InputFormat
    max_tokens: int

    def identity(self) -> str:
        """Return the model's name with a digest of all that its vectors depend on; reads the files."""
        form = self.input_format
        # Stores keep the digest: one of another text would say that their model has changed.
        digest = hashlib.sha256(
            f"(Usage(query_prefix={form.query_prefix!r}, passage_prefix={form.passage_prefix!r}, "
            f"pooling={form.pooling!r}), {self.max_tokens})".encode()
        )
        # Large models keep their weights in files beside the model.
        weights = sorted(self.model.parent.glob(f"{self.model.stem}*data"))
        for path in (self.model, *weights, self.tokenizer):
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        return f"{self.name}-{digest.hexdigest()[:8]}"


def open_folder(
    folder: Path, *, query_prefix: str | None = None, passage_prefix: str | None = None
) -> TransformerFolder:
    """Find the files of a model.

    Args:
        folder: The folder: one ONNX file, in it or in ``onnx`` below it, and one file that ends in ``tokenizer.json``.
        query_prefix: Text before each query; None for the model's own.
        passage_prefix: Text before each passage, likewise.

    Raises:
        UnusableFolderError: The folder does not hold one model.
    """
    if not folder.is_dir():
        raise UnusableFolderError(f"{folder} is not a folder")
    model = _only(folder, "*.onnx") or _only(folder / "onnx", "*.onnx")
    if model is None:
        raise UnusableFolderError(f"{folder} has no file that ends in .onnx")
    tokenizer = _only(folder, "*tokenizer.json")
    if tokenizer is None:
        raise UnusableFolderError(f"{folder} has no tokenizer.json")
    name = folder.resolve().name if _GENERIC.fullmatch(model.stem) else model.stem
    input_format = _input_format(folder, name)
    return TransformerFolder(
        name,
        model,
        tokenizer,
        InputFormat(
            input_format.query_prefix if query_prefix is None else query_prefix,
            input_format.passage_prefix if passage_prefix is None else passage_prefix,
            input_format.pooling,
        ),
        _max_tokens(folder, tokenizer),
    )


def _only(folder: Path, pattern: str) -> Path | None:
    found = sorted(folder.glob(pattern))
    if len(found) > 1:
        raise UnusableFolderError(
            f"{folder} has several files {pattern} ({', '.join(path.name for path in found[:4])}); keep one of them"
        )
    return found[0] if found else None


def _input_format(folder: Path, name: str) -> InputFormat:
    """Return the format that the folder's own files state, or that of the family which the name belongs to."""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower())
    family = next((input_format for pattern, input_format in _FAMILIES if re.search(pattern, words)), InputFormat())
    prompts = _read(folder / "config_sentence_transformers.json").get("prompts")
    prompts = prompts if isinstance(prompts, Mapping) else {}
    pooling = _read(folder / "1_Pooling" / "config.json")
    return InputFormat(
        str(prompts.get("query") or family.query_prefix),
        str(prompts.get("passage") or prompts.get("document") or family.passage_prefix),
        "cls"
        if pooling.get("pooling_mode_cls_token")
        else "mean"
        if pooling.get("pooling_mode_mean_tokens")
        else family.pooling,
    )


def _max_tokens(folder: Path, tokenizer: Path) -> int:
    truncation = _read(tokenizer).get("truncation") or {}
    stated = _read(folder / "sentence_bert_config.json").get("max_seq_length") or truncation.get("max_length")
    return min(stated, _MAX_TOKENS) if isinstance(stated, int) and stated > 8 else _MAX_TOKENS


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UnusableFolderError(f"{path} is not readable as JSON") from error
    return content if isinstance(content, dict) else {}
