"""The choice of models and store, and the configuration file that holds it."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from memgpt.cli.terminal.ui import Ui
from memgpt.config import ConfigError, home_dir

OFFLINE = "offline"
OPENAI = "openai"
COMPATIBLE = "openai-compatible"
WORDLLAMA = "wordllama"
ONNX = "onnx"


@dataclass(frozen=True, slots=True)
class Extras:
    """What is sent with every request to an endpoint besides the protocol.

    Attributes:
        headers: Additional headers; values may be secret.
        query: Additional query parameters.
        temperature: Sampling temperature of a chat model; None for the endpoint's own.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """The models and the store that the services use.

    Attributes:
        model: The chat model; `offline` for the built-in one.
        base_url: Endpoint of the chat model; empty for OpenAI.
        api_key: Its API key; empty for none.
        mode: How the model calls functions: `auto`, `tools` or `json_schema`.
        context_window: Its context window in tokens; 0 for the service's default.
        embedding_model: The embedding model; `wordllama` for the bundled one, `onnx` for a local transformer.
        embedding_base_url: Endpoint of the embedding model; empty for OpenAI.
        embedding_api_key: Its API key.
        embedding_dimension: Dimension of its vectors.
        embedding_folder: Folder of a local transformer.
        milvus_uri: A file for Milvus Lite, or a server's URI.
        extras: What is sent to the chat model's endpoint with every request; None for what is configured for it.
        embedding_extras: The same for the embedding model's endpoint.
    """

    model: str = OFFLINE
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    mode: str = "auto"
    context_window: int = 0
    embedding_model: str = WORDLLAMA
    embedding_base_url: str = ""
    embedding_api_key: str = field(default="", repr=False)
    embedding_dimension: int = 0
    embedding_folder: str = ""
    milvus_uri: str = ""
    extras: Extras | None = None
    embedding_extras: Extras | None = None


def default_uri() -> str:
    """Return the path of the Milvus Lite file in the suite's folder, with `~` where that is shorter."""
    path = home_dir() / "milvus.db"
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except ValueError:
        return str(path)


def document(old: dict[str, Any], answers: Answers) -> dict[str, Any]:
    """Return the new content of the configuration file: the answers, and the other existing settings."""
    agent = {
        "model": answers.model,
        "base_url": answers.base_url,
        "api_key": answers.api_key,
        "mode": answers.mode if answers.model != OFFLINE else "",
        "context_window": answers.context_window,
    }
    remote = answers.embedding_model not in (WORDLLAMA, ONNX)
    memory = {
        "uri": answers.milvus_uri or default_uri(),
        "embedding": "openai" if remote else answers.embedding_model,
        "embedding_model": answers.embedding_model if remote else "",
        "embedding_dimension": answers.embedding_dimension if remote else 0,
        "embedding_base_url": answers.embedding_base_url if remote else "",
        "embedding_api_key": answers.embedding_api_key if remote else "",
        "embedding_folder": answers.embedding_folder if answers.embedding_model == ONNX else "",
    }
    new = dict(old)
    for section, prefix, url in (("agent", "", answers.base_url), ("memory", "embedding_", answers.embedding_base_url)):
        if old.get(section, {}).get(f"{prefix}base_url", "") != url:
            # Extra headers may be secrets of the former endpoint.
            new[section] = {k: v for k, v in old.get(section, {}).items() if k not in _extras(prefix)}
    for section, values in (("agent", agent), ("memory", memory)):
        # Empty answers remove earlier ones, so that the service's defaults apply.
        kept = {key: value for key, value in new.get(section, {}).items() if key not in values}
        new[section] = kept | {key: value for key, value in values.items() if value}
    for section, prefix, given in (("agent", "", answers.extras), ("memory", "embedding_", answers.embedding_extras)):
        if given is not None:
            new[section] = _with_extras(new[section], prefix, given)
    return new


def _with_extras(settings: Mapping[str, Any], prefix: str, given: Extras) -> dict[str, Any]:
    """Return a section with these extras in place of earlier ones."""
    names = (*_extras(prefix), *(() if prefix else ("temperature",)))
    values = (dict(given.headers) or None, dict(given.query) or None, given.temperature)
    kept = {key: value for key, value in settings.items() if key not in names}
    return kept | {name: value for name, value in zip(names, values, strict=False) if value is not None}


def _extras(prefix: str) -> tuple[str, str]:
    """Return the settings of extra headers and query parameters."""
    return f"{prefix}headers", f"{prefix}query"


def extras(document: dict[str, Any], section: str, prefix: str, url: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the extra headers and query parameters that the configuration has for the endpoint at ``url``."""
    settings = document.get(section, {})
    if settings.get(f"{prefix}base_url", "") != url:
        return {}, {}
    headers, query = (dict(settings.get(key) or {}) for key in _extras(prefix))
    return headers, query


def sent_with(
    given: Extras | None, document: dict[str, Any], section: str, prefix: str, url: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers and query parameters for requests to the endpoint at ``url``: those given, else configured."""
    return extras(document, section, prefix, url) if given is None else (dict(given.headers), dict(given.query))


def current(document: dict[str, Any]) -> Answers:
    """Return the answers in a configuration file."""
    agent, memory = document.get("agent", {}), document.get("memory", {})
    kind = memory.get("embedding", WORDLLAMA)
    remote = kind == "openai"
    return Answers(
        model=str(agent.get("model", OFFLINE)),
        base_url=str(agent.get("base_url", "")),
        api_key=str(agent.get("api_key", "")),
        mode=str(agent.get("mode", "auto")),
        context_window=int(agent.get("context_window", 0)),
        embedding_model=str(memory.get("embedding_model", "")) if remote else str(kind),
        embedding_base_url=str(memory.get("embedding_base_url", "")) if remote else "",
        embedding_api_key=str(memory.get("embedding_api_key", "")) if remote else "",
        embedding_dimension=int(memory.get("embedding_dimension", 0)) if remote else 0,
        embedding_folder=str(memory.get("embedding_folder", "")) if kind == ONNX else "",
        milvus_uri=str(memory.get("uri", "")),
    )


def read_document(path: Path) -> dict[str, Any]:
    """Return the parsed configuration file; empty if it does not exist.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; correct it, or move it away") from error


def write_document(path: Path, content: dict[str, Any]) -> None:
    """Write the file atomically, readable only by its owner since it may contain keys."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    with os.fdopen(descriptor, "wb") as file:
        tomli_w.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def keep_former(ui: Ui, path: Path) -> None:
    """Copy the file before it is changed, since its keys and comments exist nowhere else."""
    former = path.with_name(f"{path.name}.old")
    shutil.copy2(path, former)
    ui.note(f"The previous configuration is kept in {former}")
